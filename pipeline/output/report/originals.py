"""Source pictures for the gallery, read from the source again where the output does not hold them.

Only the samples shown are fetched, a source file is opened once, and all of it ends after a time limit: a report must
not take as long as the job. A picture that cannot be had is no error; the reason is given instead.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.job_record import JobRecord
from pipeline.paths import part_path
from pipeline.records import Sample, SourceFile
from pipeline.sink.index import read_part
from pipeline.sink.note import read_note
from pipeline.sources import Layout, open_source
from pipeline.storage import Store

Place = tuple[str, str, int]
"""Shard, key and variant of an index row."""

SECONDS = 60.0
_UNREADABLE = "source not shown: it cannot be read any more"
_LOOSE = ("folder", "manifest")


class _TooLong(Exception):
    pass


def read_originals(
    rows: Sequence[Mapping[str, Any]], record: JobRecord, store: Store, seconds: float = SECONDS
) -> dict[Place, bytes | str]:
    """The source picture of each index row as compressed bytes, or a few words why there is none."""
    by_shard: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_shard.setdefault(row["shard"], []).append(row)
    deadline = time.monotonic() + seconds
    reader = _Reader(record, store, deadline)
    found: dict[Place, bytes | str] = {}
    with ThreadPoolExecutor(4) as pool:
        for part in pool.map(lambda shard: reader.shard(shard, by_shard[shard]), by_shard):
            found.update(part)
    return found


def place_of(row: Mapping[str, Any]) -> Place:
    """The place of an index row."""
    return row["shard"], row["key"], row["variant"]


class _Reader:
    def __init__(self, record: JobRecord, store: Store, deadline: float) -> None:
        self.spec, self.format, self.shard_size = record.spec, record.source_format, record.shard_size
        self.store, self.deadline = store, deadline
        # Nothing but the picture and its key is needed.
        found = ("image", "any_image", "key", "variants", "record")
        self.layout = Layout(**{name: getattr(record.layout, name) for name in found})

    def shard(self, shard: str, rows: Sequence[Mapping[str, Any]]) -> dict[Place, bytes | str]:
        """The pictures of rows of one shard."""
        try:
            images = self._loose(rows) if self.format in _LOOSE else self._packed(shard, rows)
        except _TooLong:
            images = {place_of(row): "source not shown: reading it again takes too long" for row in rows}
        except Exception:
            # Whatever a store or a damaged file answers, a report must not fail a job that is done.
            images = {place_of(row): _UNREADABLE for row in rows}
        return {place_of(row): _same(images.get(place_of(row)), row) for row in rows}

    def _loose(self, rows: Sequence[Mapping[str, Any]]) -> dict[Place, bytes | str]:
        images: dict[Place, bytes | str] = {}
        for row in rows:
            if time.monotonic() > self.deadline:
                raise _TooLong
            try:
                images[place_of(row)] = Store(row["source_uri"], self.spec.source.storage).read("")
            except Exception:
                images[place_of(row)] = _UNREADABLE
        return images

    def _packed(self, shard: str, rows: Sequence[Mapping[str, Any]]) -> dict[Place, bytes | str]:
        """Of a tar or Parquet file: the file is cut into shards of one sample, and only the wanted ones are read."""
        part = self.store.read(part_path(shard))
        note = read_note(part)
        order = {
            (key, variant): n // self.spec.variants
            for n, (key, variant, error) in enumerate(
                zip(*(read_part(part)[name].to_pylist() for name in ("key", "variant", "error")), strict=True)
            )
            if error != "duplicate_key"
        }
        places: dict[int, list[Place]] = {}
        for row in rows:
            places.setdefault(note.part * self.shard_size + order[row["key"], row["variant"]], []).append(place_of(row))
        file = SourceFile(uri=rows[0]["source_uri"], relative=note.source)
        source = open_source(self.spec.source, self.format, self.shard_size)
        images: dict[Place, bytes | str] = {}
        left = set(places)

        def wanted(part: int) -> bool:
            # asked once per sample, so that it also keeps time
            if time.monotonic() > self.deadline:
                raise _TooLong
            return part in places

        for single in source.read(file, self.layout, 1, wanted):
            sample: Sample = single.samples[0]
            for place in places[single.part]:
                if sample.image is not None and sample.key == place[1]:
                    images[place] = sample.image
            left.discard(single.part)
            if not left:
                break
        here = Store(file.uri, self.spec.source.storage)
        if left and not here.fs.exists(here.path()):
            # a source gives a row for a file that is gone; here there is nothing that could have moved within it
            raise FileNotFoundError(file.uri)
        return images


def _same(image: bytes | str | None, row: Mapping[str, Any]) -> bytes | str:
    if row["source_sha256"] is None:
        return "there is no source picture"
    if image is None:
        return "source not shown: it is no longer in its file"
    if isinstance(image, bytes) and hashlib.sha256(image).hexdigest() != row["source_sha256"]:
        return "source not shown: it has changed since"
    return image
