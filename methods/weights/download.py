"""Files fetched from a store, again and again where they break off: what has arrived is not fetched twice."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from methods.errors import InputError, Unanswered
from methods.files import write_text
from methods.uris import StorageOptions
from methods.weights.entry import FileSum
from methods.weights.stores import is_missing, open_store, plain_errors

CHUNK = 64 << 20
"""Bytes per request: what is lost at most when a download breaks off."""

_RETRY_AFTER = (0.3, 1.0)
_TAGS = ("ETag", "Last-Modified", "LastModified", "mtime", "etag", "md5", "generation")


class Origin:
    """Where the files of a URI are fetched from.

    Args:
        uri: without fragment.
        label: begins every message; nothing of it is secret.
        missing: added to the message when there is nothing, or no access.
    """

    def __init__(self, uri: str, options: StorageOptions, label: str, missing: str = "") -> None:
        self._label, self._missing = label, missing
        self._store, self._path = open_store(uri, options, label)
        self._lists = urlsplit(uri).scheme not in ("http", "https")

    def names(self) -> list[str] | None:
        """Names of the files in a folder; ``None`` for a single file. Raises InputError if it cannot be asked."""
        with plain_errors(self._label, self._missing):
            if not self._lists or not self._store.isdir(self._path):
                return None
            root = self._path.rstrip("/")
            return sorted(str(each)[len(root) + 1 :] for each in self._store.find(root))

    def get(self, name: str, target: Path, sha256: str | None = None) -> FileSum:
        """Fetch one file (``""`` for the only one) to ``target``, where it appears when it is whole and right.

        A download that broke off goes on where it was, in this call or a later one, if the store says by a tag that
        the file is still the same.

        Raises:
            InputError: it is not there, cannot be fetched, or has another checksum than ``sha256``.
        """
        path = f"{self._path.rstrip('/')}/{name}" if name else self._path
        label = f"{self._label}, {name}" if name else self._label
        part = target.with_name(f".part-{target.name}")
        part.parent.mkdir(parents=True, exist_ok=True)
        with plain_errors(label, self._missing):
            for wait in (*_RETRY_AFTER, None):
                try:
                    self._fill(path, part)
                    break
                except (InputError, PermissionError, Unanswered):
                    raise
                except Exception as error:
                    if wait is None or is_missing(error):
                        raise
                    time.sleep(wait)
        found = FileSum.of(part)
        _note(part).unlink(missing_ok=True)
        if sha256 is not None and found.sha256 != sha256:
            part.unlink()
            raise InputError(f"{label}: sha256 is {found.sha256}, expected {sha256}; nothing of it was kept")
        os.replace(part, target)
        return found

    def _fill(self, path: str, part: Path) -> None:
        info = self._store.info(path)
        tag = next((f"{name}={info[name]}" for name in _TAGS if info.get(name)), None)
        state = {"size": info.get("size"), "tag": tag}
        if tag is None or _read(_note(part)) != state:
            part.unlink(missing_ok=True)
            write_text(_note(part), json.dumps(state))
        have = part.stat().st_size if part.exists() else 0
        size = info.get("size")
        if size is None or not self._in_ranges(path, part, have, size):
            with self._store.open(path, "rb", block_size=0) as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 22)
        if size is not None and part.stat().st_size != size:
            raise OSError("the file broke off")

    def _in_ranges(self, path: str, part: Path, have: int, size: int) -> bool:
        """Append what is missing, a request for each chunk; False where the server sends whole files only."""
        with self._store.open(path, "rb", block_size=CHUNK, cache_type="none") as source, part.open("ab") as sink:
            try:
                if have:
                    source.seek(have)
                while have < size:
                    data = source.read(min(CHUNK, size - have))
                    if not data:
                        break
                    sink.write(data)
                    sink.flush()
                    have += len(data)
            except ValueError:
                return False
        return True


def _note(part: Path) -> Path:
    """Beside what has arrived: of which state of the file it is."""
    return part.with_name(f"{part.name}.json")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
