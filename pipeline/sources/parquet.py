"""Parquet files with image bytes in a column (plain binary, or Hugging Face's ``{bytes, path}`` struct)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from methods.errors import BadSample, first_line
from pipeline.findings import Finding, merge
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Wanted, assemble, broken_file, budget_of, cut_shards, every_part
from pipeline.sources.columns import kind_of
from pipeline.sources.evidence import LOOKED_AT, holds_labels
from pipeline.sources.keys import carried, find_key, key_hint
from pipeline.sources.layout import LABEL_NAMES, Layout, Peeked
from pipeline.sources.listing import Survey, list_files
from pipeline.sources.loose import with_picture
from pipeline.sources.objects import is_label_column, label_reader
from pipeline.sources.outputs import PARQUET_META, from_row, layout_of, variant_key
from pipeline.sources.pending import Fetched, Pending
from pipeline.spec import SourceSpec
from pipeline.storage import Store, protocol_of, redact

SUFFIXES = (".parquet", ".pq")

_CANNOT = "has a type that no output can hold"
_LOOKED_AT_BYTES = 64 << 20
_UNPACKED = 256 << 20
_HIVE = re.compile(r"(?:^|/)([A-Za-z_]\w*)=[^/]*(?=/)")
_PARTITION = "a column in the names of folders (column=value), which is not read; source_uri in the index has it"
_EMPTY = "has no values in the first source file, so its type is not known"


def seen_columns(schema: pa.Schema, names: Iterable[str], texts: Callable[[str], list[Any]]) -> Peeked:
    """What columns show of themselves. ``texts`` reads the first values of a column that may hold label records."""
    kinds: dict[str, str] = {}
    labels: list[str] = []
    left_out: dict[str, str] = {}
    for name in names:
        type = schema.field(name).type
        kind = kind_of(type)
        if kind is None:
            left_out[name] = _EMPTY if pa.types.is_null(type) else f"{_CANNOT} ({type})"
            continue
        kinds[name] = kind
        if name in LABEL_NAMES and (
            is_label_column(type) or (kind in ("string", "binary") and holds_labels(texts(name)))
        ):
            labels.append(name)
    return Peeked(kinds, labels, left_out)


@contextlib.contextmanager
def open_parquet(file: SourceFile, spec: SourceSpec) -> Iterator[pq.ParquetFile]:
    """The file, read by ranges. pyarrow's own error for a damaged one is ``ArrowInvalid``."""
    with Store(file.uri, spec.storage).open("", block_size=1 << 20) as raw:
        yield pq.ParquetFile(raw, page_checksum_verification=True)


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of samples, one row each."""

    spec: SourceSpec

    def survey(self) -> Survey:
        """Every Parquet file, sorted; columns that stand in the names of folders are reported."""
        found = list_files(self.spec, SUFFIXES)
        partitions = [
            Finding("column", column, _PARTITION, 1, (each.relative,))
            for each in found.files
            for column in sorted({part[1] for part in _HIVE.finditer(each.relative)})
        ]
        return replace(found, findings=merge(found.findings, partitions))

    def plan(self) -> list[SourceFile]:
        """The files of the survey."""
        return self.survey().files

    def peek(self, file: SourceFile) -> Peeked:
        """Columns from the footer; label columns and the key from their first values."""
        with open_parquet(file, self.spec) as parquet:
            schema = parquet.schema_arrow

            def first(name: str) -> list[Any]:
                found, size = [], 0
                for batch in islice(_rows_of(parquet, [name]), LOOKED_AT):
                    found += [value for value in batch.column(0).to_pylist() if value]
                    size += batch.nbytes
                    if size > _LOOKED_AT_BYTES:
                        break
                return found

            own = layout_of((schema.metadata or {}).get(PARQUET_META))
            if own is not None:
                seen = seen_columns(schema, (name for name in schema.names if name != "key"), first)
                return replace(seen, own=own, key="key")
            read = partial(_column, parquet)
            key = find_key(self.spec, schema.names, read, redact(file.uri))
            return replace(seen_columns(schema, carried(schema.names, key), first), key=key)

    def count(self, file: SourceFile) -> int | None:
        """Rows, from the footer."""
        with open_parquet(file, self.spec) as parquet:
            return parquet.metadata.num_rows

    def read(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted = every_part) -> Iterator[Shard]:
        """Row groups that lie wholly in parts that are not wanted are not read, but for their keys."""
        pending = self._pending(file, layout, shard_size, wanted)
        return cut_shards(file, pending, shard_size, wanted, self.spec.limit, key_hint(layout.key), budget_of(file))

    def _pending(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted) -> Iterator[Pending]:
        try:
            with open_parquet(file, self.spec) as parquet:
                schema = parquet.schema_arrow
                if layout.key is not None and layout.key not in schema.names:
                    message = f"no column '{layout.key}' for keys, which other files of this source have"
                    yield broken_file(file, "no_key_column", message)
                    return
                reader = RowReader(self.spec, layout, schema)
                start = 0
                # Rows of an output of loose files name their pictures, which are objects of their own.
                far = layout.variants is not None and protocol_of(file.uri) != "file"
                for group in range(parquet.num_row_groups):
                    count = parquet.metadata.row_group(group).num_rows
                    parts = range(start // shard_size, (start + count - 1) // shard_size + 1)
                    idle = not any(wanted(part) for part in parts)
                    columns = reader.keys if idle else reader.columns
                    _check_size(parquet.metadata.row_group(group), file)
                    if columns:
                        rows = (row for batch in _rows_of(parquet, columns, [group]) for row in batch.to_pylist())
                    else:
                        rows = ({} for _ in range(count))
                    for number, row in enumerate(rows, start):
                        key = reader.key(row) or f"{file.stem}-{number:08d}"
                        findings = () if number else reader.findings
                        fetch = partial(self._fetch, key, file.uri, row, reader)
                        yield Pending(key, fetch, findings=findings, remote=far)
                    start += count
        except _Bomb as error:
            yield broken_file(file, "too_large", str(error))
        except pa.ArrowException as error:
            yield broken_file(file, "damaged_parquet", f"not a readable Parquet file: {first_line(error)}")

    def _fetch(self, key: str, uri: str, row: Mapping[str, Any], reader: RowReader) -> Fetched:
        try:
            values = with_picture(reader.values(row), reader.layout.image, uri, self.spec.storage)
        except BadSample as error:
            return Sample(key=key, source_uri=uri, problem=Rejection("read", error.reason, str(error))), ()
        return assemble(key, uri, values, reader.layout, reader.doubtful)


class _Bomb(Exception):
    """A row group that unpacks to far more than its whole file is."""


def _check_size(group: pq.RowGroupMetaData, file: SourceFile) -> None:
    """Refuse a row group that unpacks a hundredfold, to more than any data that somebody packed.

    Only the group's own number is asked for: to look at a column whose statistics are damaged ends the process.
    """
    if group.total_byte_size > max(_UNPACKED, 100 * file.size):
        raise _Bomb(f"a row group unpacks to {group.total_byte_size} bytes, of a file of {file.size}: not read")


def _rows_of(parquet: pq.ParquetFile, columns: list[str], groups: list[int] | None = None) -> Iterator[pa.RecordBatch]:
    """One row at a time: rows may share a value that is stored once, and unpacked for each of them."""
    return parquet.iter_batches(batch_size=1, row_groups=groups, columns=columns, use_threads=False)


def _column(parquet: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    return parquet.read(columns=[name], use_threads=False).column(name)


class RowReader:
    """Reads the rows of one table as a layout, which may be that of another file, says.

    Attributes:
        columns: what has to be read of each row.
        keys: what has to be read to know the key; empty where rows have none.
        doubtful: columns of another type than the first file had: their values are looked at one by one.
        findings: columns that the layout does not know.
    """

    def __init__(self, spec: SourceSpec, layout: Layout, schema: pa.Schema) -> None:
        self.layout = layout
        parts = [layout.image, layout.target, layout.caption, layout.labels, layout.labels_source, *layout.masks]
        wanted = {*parts, *layout.carry}
        self.keys = [name for name in (layout.key, "variant" if layout.variants else None) if name is not None]
        self.columns = [name for name in schema.names if name in wanted or name in self.keys]
        self._values = [name for name in self.columns if name in wanted]
        self.doubtful = {
            name: kind
            for name, kind in layout.carry.items()
            if name in schema.names and kind_of(schema.field(name).type) != kind
        }
        self._labels: Callable[[Any], str] | None = None
        if layout.variants is None and layout.labels in schema.names:
            assert layout.labels is not None
            if is_label_column(schema.field(layout.labels).type):
                self._labels = label_reader(layout.labels, schema)
        known = {*wanted, *self.keys, *layout.left_out, *(("width", "height") if layout.variants else ())}
        self.findings = tuple(
            Finding("column", name, "not in the first source file; name it under source.carry to keep it")
            for name in schema.names
            if name not in known and spec.carry == "auto"
        )

    def key(self, row: Mapping[str, Any]) -> str | None:
        """The row's own name, if it has one."""
        found = row.get(self.layout.key) if self.layout.key is not None else None
        if found is None:
            return None
        name = found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else str(found)
        return variant_key(name, row.get("variant") or 0, self.layout.variants or 1)

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's parts by name, with labels as text."""
        values = {name: row.get(name) for name in self._values}
        labels = self.layout.labels
        if self.layout.variants is not None:
            return from_row(values, self.layout)
        if self._labels is not None and labels is not None and values.get(labels) is not None:
            values[labels] = self._labels(values[labels])
        return values
