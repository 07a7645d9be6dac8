"""The exported folder: what lies there already, and how files get there, on a disk or in a bucket."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from methods.errors import InputError
from pipeline.storage import HIDDEN, Store, explained, redact

MANIFEST = ".sceneshift-export.json"


class ExportFolder:
    """Where an export is written to.

    An export that was broken off goes on: pictures that are there are not read again. What says whose folder it is, is
    a hidden file with the output's fingerprint and the options.

    Args:
        identity: what has to be the same for an export to go on.

    Raises:
        InputError: the folder holds another export, or files that are none.
    """

    def __init__(self, store: Store, identity: Mapping[str, Any]) -> None:
        self._store = store
        store.require_bucket()
        there = store.read_or_none(MANIFEST)
        self._sizes = {entry.path: entry.size for entry in store.list()}
        if there is None and self._sizes:
            raise InputError(f"{redact(store.uri())}: holds other files; give an empty or a new folder")
        if there is not None and _parsed(there).get("identity") != json.loads(json.dumps(identity)):
            raise InputError(
                f"{redact(store.uri())}: holds an export of other pictures or with other options, files of which would "
                "stay; give another folder, or delete it first"
            )
        self._manifest = {"version": 1, "identity": dict(identity)}
        self._note(complete=False)

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self._store.local

    def has(self, path: str, sha256: str | None) -> bool:
        """Whether a picture of an earlier run is there: on a disk by its checksum, in a bucket by its presence.

        A put is atomic, so what is in a bucket is whole. ``sha256`` is ``None`` for pictures that are encoded anew.
        """
        if path not in self._sizes:
            return False
        if sha256 is None or not self.local:
            return True
        with open(self._store.path(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def put(self, path: str, data: bytes | BinaryIO) -> None:
        """Write one file in one step."""
        put_file(self._store, path, data)

    def link(self, path: str, source: str) -> None:
        """Make ``path`` the same file as the local ``source``: a hard link, or a symbolic one across disks."""
        target = self._store.path(path)
        with explained(target), _replacing(target) as hidden:
            try:
                os.link(source, hidden)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                    raise
                os.symlink(os.path.abspath(source), hidden)

    def complete(self) -> None:
        """Note that everything is there."""
        self._note(complete=True)

    def _note(self, *, complete: bool) -> None:
        tree = {**self._manifest, "complete": complete}
        self._store.put(MANIFEST, json.dumps(tree, indent=1, sort_keys=True).encode())


def put_file(store: Store, path: str, data: bytes | BinaryIO) -> None:
    """Write bytes, or what is left of an open file, in one atomic step, replacing what is there."""
    if isinstance(data, bytes):
        store.put(path, data)
    elif store.local:
        target = store.path(path)
        with explained(target), _replacing(target) as hidden, open(hidden, "wb") as out:
            shutil.copyfileobj(data, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
    else:
        # An object appears when its writer is closed.
        with explained(store.uri(path)), store.fs.open(store.path(path), "wb") as out:
            shutil.copyfileobj(data, out, 8 << 20)


@contextlib.contextmanager
def _replacing(target: str) -> Iterator[str]:
    """A path to write to, moved to ``target`` at the end.

    Not :func:`methods.files.replacing`: listings of a store pass over this name, should a killed export leave it.
    """
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    hidden = os.path.join(folder, f"{HIDDEN}{secrets.token_hex(6)}")
    try:
        yield hidden
        os.replace(hidden, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            # Also after the move: replacing a link by another link to the same file does nothing, and leaves its name.
            os.unlink(hidden)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(data)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}
