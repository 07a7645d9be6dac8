"""Which version of a source file a plan is made for: what tells later that the file is not the same any more."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from methods.errors import InputError
from pipeline.records import SourceFile
from pipeline.storage import StorageOptions, Store, Unreachable, short_version, version_of

_THREADS = 16


def versioned(files: Iterable[SourceFile], storage: StorageOptions) -> list[SourceFile]:
    """The files with their versions.

    A group of loose images has one short hash for each member, on a disk; in a bucket, where asking costs a request for
    every image, the sizes of its members must do.
    """
    files = list(files)
    if all(Store(file.uri, storage).local for file in files):
        return [replace(file, version=version_now(file, storage)) for file in files]
    with ThreadPoolExecutor(_THREADS) as pool:
        versions = pool.map(lambda file: version_now(file, storage), files)
        return [replace(file, version=version) for file, version in zip(files, versions, strict=True)]


def version_now(file: SourceFile, storage: StorageOptions) -> str:
    """The version of the file as it lies there; empty for one that is gone. Raises Unreachable."""
    store = Store(file.uri, storage)
    if file.members:
        if not store.local:
            return ""
        return ",".join(short_version(_local(posixpath.join(store.path(), member))) for member in file.members)
    if store.local:
        return _local(store.path())
    try:
        return store.version()
    except Unreachable:
        raise
    except InputError:
        return ""


def _local(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return version_of({"size": found.st_size, "mtime": found.st_mtime_ns / 1e9})
