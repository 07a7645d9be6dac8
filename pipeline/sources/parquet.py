"""Parquet files with image bytes in a column (plain binary, or Hugging Face's ``{bytes, path}`` struct)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from methods.errors import BadSample
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Pending, assemble, broken_file, cut_shards
from pipeline.sources.layout import KEY_NAMES, Kind, Layout
from pipeline.sources.listing import list_files
from pipeline.sources.loose import with_picture
from pipeline.spec import SourceSpec
from pipeline.storage import Store

SUFFIXES = (".parquet", ".pq")


def kind_of(field: pa.DataType) -> Kind | None:
    """How a column passes through, or ``None`` for types that have no plain equivalent."""
    if pa.types.is_string(field) or pa.types.is_large_string(field):
        return "string"
    if pa.types.is_binary(field) or pa.types.is_large_binary(field):
        return "binary"
    if pa.types.is_struct(field) and field.get_field_index("bytes") >= 0:
        return "binary"
    if pa.types.is_boolean(field):
        return "bool"
    if pa.types.is_integer(field):
        return "int64"
    return "double" if pa.types.is_floating(field) else None


def known_kinds(kinds: Mapping[str, Kind | None]) -> dict[str, Kind]:
    """Only the columns that can pass through."""
    return {name: kind for name, kind in kinds.items() if kind is not None}


@contextlib.contextmanager
def open_parquet(file: SourceFile, spec: SourceSpec) -> Iterator[pq.ParquetFile]:
    """The file, read by ranges. pyarrow's own error for a damaged one is ``ArrowInvalid``."""
    with Store(file.uri, spec.storage).open("", block_size=1 << 20) as raw:
        yield pq.ParquetFile(raw)


def key_column(spec: SourceSpec, names: Collection[str]) -> str | None:
    """The column that holds keys: the one named in the spec, else a usual one."""
    if spec.key != "auto":
        return spec.key if spec.key in names else None
    return next((name for name in KEY_NAMES if name in names), None)


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of samples, one row each."""

    spec: SourceSpec

    def plan(self) -> list[SourceFile]:
        """Every Parquet file, sorted."""
        return list_files(self.spec, SUFFIXES)

    def peek(self, file: SourceFile) -> Mapping[str, Kind]:
        """Columns from the footer; the key column is not one of the parts."""
        with open_parquet(file, self.spec) as parquet:
            schema = parquet.schema_arrow
            key = key_column(self.spec, schema.names)
            names = [name for name in schema.names if name != key]
            kinds: dict[str, Kind | None] = {name: kind_of(schema.field(name).type) for name in names}
        return known_kinds(kinds)

    def count(self, file: SourceFile) -> int | None:
        """Rows, from the footer."""
        with open_parquet(file, self.spec) as parquet:
            return parquet.metadata.num_rows

    def read(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Shard]:
        """Row groups that lie wholly in finished parts are not read, but for their keys."""
        return cut_shards(file, self._pending(file, layout, shard_size, done), shard_size, done, self.spec.limit)

    def _pending(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Pending]:
        try:
            with open_parquet(file, self.spec) as parquet:
                names = parquet.schema_arrow.names
                key = key_column(self.spec, names)
                wanted = {layout.image, layout.target, layout.caption, layout.labels, *layout.masks, *layout.carry}
                columns = [name for name in names if name in wanted or name == key]
                start = 0
                for group in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(group).num_rows
                    parts = range(start // shard_size, (start + rows - 1) // shard_size + 1)
                    idle = all(part in done for part in parts)
                    yield from self._rows(parquet, group, start, file, layout, key, columns, idle)
                    start += rows
        except pa.ArrowException as error:
            yield broken_file(file, "damaged_parquet", f"not a readable Parquet file: {str(error).splitlines()[0]}")

    def _rows(
        self,
        parquet: pq.ParquetFile,
        group: int,
        start: int,
        file: SourceFile,
        layout: Layout,
        key: str | None,
        columns: list[str],
        idle: bool,
    ) -> Iterator[Pending]:
        stem = file.stem
        number = start
        if idle and key is None:
            for number in range(start, start + parquet.metadata.row_group(group).num_rows):
                yield Pending(f"{stem}-{number:08d}", None)
            return
        for batch in parquet.iter_batches(
            batch_size=64, row_groups=[group], columns=[key] if idle and key else columns
        ):
            for row in batch.to_pylist():
                name = str(row.pop(key)) if key and row.get(key) is not None else f"{stem}-{number:08d}"
                yield Pending(name, partial(self._fetch, name, file.uri, row, layout))
                number += 1

    def _fetch(self, key: str, uri: str, row: Mapping[str, Any], layout: Layout) -> tuple[Sample, tuple[str, ...]]:
        try:
            return assemble(key, uri, with_picture(row, layout.image, uri, self.spec.storage), layout)
        except BadSample as error:
            return Sample(key=key, source_uri=uri, problem=Rejection("read", error.reason, str(error))), ()
