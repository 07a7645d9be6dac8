"""What was fetched by URI, one folder each: the content, and a record of its sizes and checksums.

A folder is ``$SCENESHIFT_CACHE/weights/<16 hex of the address>/``. A lock in it keeps processes of one node from
fetching the same twice; the record is written last, so what has none is not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from methods.counting import counted
from methods.errors import InputError
from methods.files import write_text
from methods.uris import StorageOptions, split
from methods.weights.address import redacted
from methods.weights.beside import beside
from methods.weights.contents import contents_sum
from methods.weights.download import Origin
from methods.weights.entry import FileSum, WeightsEntry
from methods.weights.mirror import Mirror

_RECORD = "record.json"


@dataclass(frozen=True)
class Cached:
    """A fetched URI on this node: where it lies, its files' sums by relative name ("" for a single file)."""

    path: Path
    entry: WeightsEntry

    def file(self, name: str) -> Path:
        """The local path of one of its files."""
        return self.path / name if name else self.path

    def damaged(self) -> list[Path]:
        """The files that are not what was fetched any more, read in full."""
        return [
            self.file(name)
            for name, wanted in self.entry.files.items()
            if not self.file(name).is_file() or FileSum.of(self.file(name)) != wanted
        ]


def cache_folder() -> Path:
    """Where fetched weights and their sums are kept."""
    return Path(os.environ.get("SCENESHIFT_CACHE") or "~/.cache/sceneshift").expanduser()


def recorded(uri: str) -> Cached | None:
    """What the cache fetched of ``uri`` at some time, whatever became of the files since; ``None`` if nothing."""
    target = _target(uri)
    try:
        entry = WeightsEntry.from_record(json.loads((target.parent / _RECORD).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Cached(target, entry) if entry.files else None


def find(uri: str) -> Cached | None:
    """What the cache holds of ``uri``, by the sizes it was fetched with; ``None`` if it must be fetched."""
    found = recorded(uri)
    if found is None:
        return None
    whole = all(
        found.file(name).is_file() and found.file(name).stat().st_size == each.size
        for name, each in found.entry.files.items()
    )
    return found if whole else None


def fetch(uri: str, mirror: Mirror | None) -> Path:
    """Download into the cache under a lock, from the mirror if that holds it.

    Raises:
        InputError: see :func:`methods.weights.fetch`.
    """
    bare, wanted, options = split(uri)
    target = _target(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / "lock"):
        found = find(uri)
        if found is None:
            entry = mirror.entry(uri) if mirror is not None else None
            if mirror is not None and entry is not None:
                mirror.get(uri, entry, target)
            else:
                missing = "" if mirror is None else f", and the mirror {mirror} does not hold it"
                entry = _from_origin(bare, target, options, wanted, missing)
            _keep_only(target, entry)
            write_text(target.parent / _RECORD, json.dumps(entry.as_record()))
            found = Cached(target, entry)
    if wanted is not None:
        sums = found.entry.files
        if "" not in sums:
            raise InputError(
                f"weights '{redacted(uri)}': #sha256= pins a single file, and this is a folder of "
                f"{counted(len(sums), 'file')}: leave it out"
            )
        content = sums[""].sha256
        if content != wanted:
            raise InputError(
                f"weights '{redacted(uri)}': sha256 is {content}, expected {wanted}: delete {target} if it is stale"
            )
    return target


def record_beside(path: Path) -> dict[str, Any]:
    """The record of a path that :func:`fetch` returned; empty for any other path."""
    if path.parent.parent != cache_folder() / "weights":
        return {}
    try:
        return json.loads((path.parent / _RECORD).read_text())
    except (OSError, ValueError):
        return {}


def kept_sum(path: Path) -> str:
    """The SHA-256 of the file's bytes, read from the cache if path, size and time are those of an earlier sum."""
    return _kept(path, "", lambda: FileSum.of(path).sha256) or ""


def kept_contents(path: Path) -> str | None:
    """What :func:`methods.weights.contents.contents_sum` finds in the file, kept as :func:`kept_sum` is."""
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            # no file of tensors, which needs no entry in the cache
            return None
    return _kept(path, "\0contents", lambda: contents_sum(path))


def _kept(path: Path, kind: str, find: Callable[[], str | None]) -> str | None:
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}{kind}".encode()).hexdigest()
    kept = cache_folder() / "sums" / key
    try:
        return kept.read_text()
    except OSError:
        found = find()
    if found is not None:
        # a cache that cannot be written costs time, not correctness
        with suppress(OSError):
            write_text(kept, found)
    return found


def _from_origin(bare: str, target: Path, options: StorageOptions, wanted: str | None, missing: str) -> WeightsEntry:
    origin = Origin(bare, options, f"weights '{redacted(bare)}'", missing)
    names = origin.names()
    if names is None:
        if target.is_dir():
            shutil.rmtree(target)
        one = origin.get("", target, wanted)
        others = beside(target)
        if not others:
            return WeightsEntry(redacted(bare), {"": one})
        return _with_those_beside(bare, target, options, one, others, missing)
    return WeightsEntry(redacted(bare), {name: origin.get(name, target / name) for name in names})


def _with_those_beside(
    bare: str, target: Path, options: StorageOptions, one: FileSum, others: Sequence[str], missing: str
) -> WeightsEntry:
    """A fetched file becomes a folder, with it and with what it names beside it."""
    hidden = target.with_name(f".part-{target.name}")
    os.replace(target, hidden)
    target.mkdir()
    os.replace(hidden, target / target.name)
    files = {target.name: one}
    parts = urlsplit(bare)
    for name in others:
        last = quote(name) if parts.scheme in ("http", "https") else name
        place = urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{last}"))
        files[name] = Origin(place, options, f"weights '{redacted(place)}'", missing).get("", target / name)
    return WeightsEntry(redacted(bare), files)


def _keep_only(target: Path, entry: WeightsEntry) -> None:
    """Remove what an earlier fetch left in the folder: a folder's identity is all that lies in it."""
    for path in target.rglob("*") if target.is_dir() else ():
        if path.is_file() and path.relative_to(target).as_posix() not in entry.files:
            path.unlink()


def _target(uri: str) -> Path:
    """Where the content of ``uri`` lies; the same with and without a mirror."""
    bare, _, options = split(uri)
    given = options.model_dump(exclude_defaults=True)
    place = f"{bare}\0{json.dumps(given, sort_keys=True)}" if given else bare
    folder = cache_folder() / "weights" / hashlib.sha256(place.encode()).hexdigest()[:16]
    return folder / (Path(urlsplit(bare).path).name or "weights")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it when the process dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
