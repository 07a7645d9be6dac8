"""A label source becomes a table once per node: converted by whoever comes first, found there by all its processes.

Tables lie in a cache folder of the node, named by what they were made of. The driver of a job on several machines puts
its table into the output, from where the other nodes copy it (:func:`publish`, :func:`fetched`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from methods.errors import InputError
from methods.files import replacing
from pipeline.labels.files import LabelFiles
from pipeline.labels.formats import FORMATS, LabelFormat, recognise
from pipeline.labels.table import LabelTable, TableInfo, TableWriter
from pipeline.paths import LABEL_INFO_FILE, OWN
from pipeline.storage import StorageOptions, Store, explained

_VERSION = 7
_KEEP_SECONDS = 3 * 24 * 3600
_TABLES = 20


@dataclass(frozen=True)
class TableSource:
    """Where the labels of a whole dataset come from.

    Attributes:
        uri: a file, a folder or a glob, local or in a bucket.
        format: the label format, or ``auto``.
    """

    uri: str
    format: LabelFormat = "auto"
    options: StorageOptions = field(default_factory=StorageOptions)


def open_table(source: TableSource) -> LabelTable:
    """The table of a source, converted unless this node has it already.

    Raises:
        InputError: nothing there, of no known format, or not readable.
    """
    return LabelTable(converted(source))


def converted(source: TableSource) -> Path:
    """The path of the table of a source in this node's cache; raises as :func:`open_table` does."""
    files = LabelFiles.under(source.uri, source.options)
    format = recognise(files) if source.format == "auto" else source.format
    stamp = hashlib.sha256(f"{_VERSION} {format} {files.base} {files.stamp}".encode())
    for name in FORMATS[format].beside:
        stamp.update(f"\0{name}\0{_beside(files, name)}".encode())
    name = f"labels-{stamp.hexdigest()[:24]}.sqlite"
    with _once(name) as path:
        if not path.exists():
            with replacing(path) as hidden, contextlib.closing(TableWriter(hidden, format)) as writer:
                writer.pictures = [*{posixpath.dirname(name): name for name in files.pictures()}.values()]
                FORMATS[format].read(files, writer)
    return path


def publish(path: Path, store: Store) -> None:
    """Put a table into an output, where the nodes of a cluster find it."""
    with explained(store.uri()):
        store.fs.makedirs(store.path(OWN), exist_ok=True)
        store.fs.put_file(str(path), store.path(f"{OWN}/{path.name}"))


def write_info(info: TableInfo, store: Store, tables: Sequence[str]) -> None:
    """Note in an output what its labels came from: format, number of pictures, and the categories for exports.

    Args:
        tables: names of all tables that its shards were made with, the latest last; they stand for the content.
    """
    tree = {**asdict(info), "tables": list(tables[-_TABLES:])}
    store.put(LABEL_INFO_FILE, json.dumps(tree, ensure_ascii=False, indent=1).encode())


def read_info(store: Store) -> TableInfo | None:
    """What :func:`write_info` noted; ``None`` for an output whose samples brought their own labels, or none."""
    data = store.read_or_none(LABEL_INFO_FILE)
    if data is None:
        return None
    tree = json.loads(data)
    tree.pop("tables", None)
    return TableInfo.of(tree)


def tables_of(store: Store) -> tuple[str, ...]:
    """The tables that an output's shards were made with: more than one where its label source has changed."""
    data = store.read_or_none(LABEL_INFO_FILE)
    return () if data is None else tuple(json.loads(data).get("tables", ()))


def withdraw(name: str, store: Store) -> None:
    """Remove a published table."""
    store.delete(f"{OWN}/{name}")


def fetched(name: str, store: Store, source: TableSource) -> Path:
    """The table of this name on this node: from its cache, else from the output, else converted from its source."""
    with _once(name) as path:
        if path.exists():
            os.utime(path)
            return path
        if store.exists(f"{OWN}/{name}"):
            with replacing(path) as hidden, explained(store.uri(name)):
                store.fs.get_file(store.path(f"{OWN}/{name}"), str(hidden))
            return path
    return converted(source)


@contextlib.contextmanager
def _once(name: str) -> Iterator[Path]:
    """The path in the cache, while no other process of this node makes the same."""
    folder = Path(tempfile.gettempdir()) / f"sceneshift-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")
    _forget(folder)
    lock = folder / f"{name}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder / name


def _forget(folder: Path) -> None:
    """Remove what has not been used for days."""
    for old in folder.iterdir():
        # Another process may be faster.
        with contextlib.suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - _KEEP_SECONDS:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def _beside(files: LabelFiles, name: str) -> str:
    """A side file's text; what is no text cannot be read later either, and is identified by its presence alone."""
    try:
        return files.beside(name) or ""
    except ValueError:
        return "unreadable"
