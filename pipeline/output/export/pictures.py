"""Compressed pictures and label maps of an output's shards, whatever form its data files have."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from pipeline.job import Job
from pipeline.paths import data_path
from pipeline.sink.files import to_path
from pipeline.sink.schema import passthrough_columns
from pipeline.sink.webdataset import member_stem
from pipeline.small_parquet import read_small_parquet

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """What the data files hold of one sample.

    Attributes:
        image: the compressed picture; empty where only its place was asked for.
        masks: label maps by their source name.
        place: the path of the picture within the output, where it is a loose file.
    """

    image: bytes
    masks: Mapping[str, bytes] = field(default_factory=dict)
    place: str | None = None


class PictureReader:
    """Reads one shard at a time; a data file is fetched once, whole, as it was written.

    Args:
        places: give the places of loose files instead of their content.
    """

    def __init__(self, job: Job, *, places: bool = False) -> None:
        self._job, self._store, self._places = job, job.store, places

    def read(self, shard: str, rows: Sequence[Row]) -> Iterator[tuple[Row, Stored]]:
        """The rows with their pictures, in any order. ``rows`` are ok rows of this shard.

        Raises:
            InputError: the data file is missing.
        """
        return (self._tar if self._job.spec.output.format == "webdataset" else self._parquet)(shard, rows)

    def places(self, shard: str) -> dict[int, str]:
        """The paths of a shard's loose pictures within the output, by their row."""
        path = data_path(shard, "files")
        column = read_small_parquet(self._store.read(path), ["image"])["image"]
        return {number: to_path(path, reference) for number, reference in enumerate(column.to_pylist())}

    def _parquet(self, shard: str, rows: Sequence[Row]) -> Iterator[tuple[Row, Stored]]:
        path = data_path(shard, self._job.spec.output.format)
        file = pq.ParquetFile(io.BytesIO(self._store.read(path)))
        columns = passthrough_columns(self._job.layout, self._job.spec.output.pairs)
        masks = {name: columns[name] for name in self._job.layout.masks}
        wanted = {row["row"]: row for row in rows}
        number = 0
        for batch in file.iter_batches(batch_size=16, columns=["image", *masks.values()], use_threads=False):
            for values in batch.to_pylist():
                if (row := wanted.get(number)) is not None:
                    found = {name: values[column] for name, column in masks.items() if values[column] is not None}
                    yield row, self._stored(path, values["image"], found)
                number += 1

    def _stored(self, path: str, image: bytes | str, masks: Mapping[str, bytes]) -> Stored:
        if isinstance(image, bytes):
            return Stored(image, masks)
        place = to_path(path, image)
        return Stored(b"" if self._places else self._store.read(place), masks, place)

    def _tar(self, shard: str, rows: Sequence[Row]) -> Iterator[tuple[Row, Stored]]:
        data = self._store.read(data_path(shard, "webdataset"))
        members: dict[str, tarfile.TarInfo] = {}
        if self._job.layout.masks:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                members = {member.name: member for member in archive}
        for row in rows:
            stem = member_stem(row["key"], row["variant"], self._job.spec.variants)
            masks = {}
            for name in self._job.layout.masks:
                # A label map whose name has no picture ending was given one by its content.
                member = next((members[each] for each in members if f"{each}.".startswith(f"{stem}.{name}.")), None)
                if member is not None:
                    masks[name] = data[member.offset_data : member.offset_data + member.size]
            yield row, Stored(data[row["offset"] : row["offset"] + row["size"]], masks)
