"""A shard as loose picture files beside one Parquet file that names them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.paths import IMAGES
from pipeline.records import Row
from pipeline.sink.names import UniqueNames, file_stem
from pipeline.storage import Store

_THREADS = 8


def loose_paths(rows: Sequence[Row], shard: str, suffix: str, variants: int) -> list[str]:
    """Where the pictures of a shard go: ``images/<shard>/<key>.<suffix>``.

    The shard's folder keeps samples apart whose source files use the same keys, so that a path depends on its shard
    alone, as every name in an output does.
    """
    unique = UniqueNames()
    stems = (unique.new(file_stem(row.key, row.variant, variants), f"{row.key}/{row.variant}") for row in rows)
    return [f"{IMAGES}/{shard}/{stem}.{suffix}" for stem in stems]


def from_data(path: str) -> str:
    """The path as the shard's data file gives it: relative to that file."""
    return f"../{path}"


def to_path(data_file: str, reference: str) -> str:
    """The path within the output that a data file's reference means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(data_file), reference))


def put_pictures(store: Store, paths: Sequence[str], rows: Sequence[Row]) -> int:
    """Write the pictures, several at a time, each in one atomic step; returns their bytes.

    They come before the data file and the index part: what no index part commits is not there for any reader of ours.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = [
            pool.submit(store.put, path, row.image)
            for path, row in zip(paths, rows, strict=True)
            if row.image is not None
        ]
        for each in waiting:
            each.result()
    return sum(len(row.image) for row in rows if row.image is not None)
