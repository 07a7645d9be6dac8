"""Manifests: a Parquet, CSV or JSON Lines file with one row per sample, naming images by URI."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from methods.errors import BadSample, InputError, first_line
from pipeline.labels.fields import listed
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.small_parquet import read_small_parquet
from pipeline.sources.base import Wanted, assemble, broken_file, cut_shards, every_part
from pipeline.sources.delimited import read_delimited
from pipeline.sources.evidence import LOOKED_AT
from pipeline.sources.keys import carried, find_key, key_hint
from pipeline.sources.layout import MOST_NAMES, Layout, Peeked
from pipeline.sources.listing import Survey, list_files
from pipeline.sources.loose import fetch
from pipeline.sources.parquet import RowReader, seen_columns
from pipeline.sources.pending import Fetched, Pending
from pipeline.spec import SourceSpec
from pipeline.storage import Store, protocol_of, redact
from pipeline.uris import without_secrets

TEXT_SUFFIXES = (".csv", ".tsv")
LINE_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, *LINE_SUFFIXES, ".parquet", ".pq")
_BLOCK = 1 << 26
"""The longest line of a JSON Lines file, in bytes."""
_SAME_PICTURE = (
    ": it names the same picture. A table with a row for each object is no label format that is read (export COCO); "
    "else name a column whose values are all different with source.key"
)
URI_NAMES = (
    *("uri", "image_uri", "url", "image_url", "path", "image_path", "file_name", "file"),
    *("filename", "filepath", "file_path", "image_file", "image_filename", "img_path", "image", "img"),
)
"""Usual names of the column that names pictures, the clearest first."""


def uri_column(names: Collection[str]) -> str | None:
    """The column that names images, if there is a usual one."""
    return next((name for name in URI_NAMES if name in names), None)


@dataclass(frozen=True)
class ManifestSource:
    """Rows of (image URI, anything else). Relative URIs are relative to the manifest's folder."""

    spec: SourceSpec

    def survey(self) -> Survey:
        """Every manifest, sorted; how a CSV file is read is reported."""
        return list_files(self.spec, SUFFIXES)

    def plan(self) -> list[SourceFile]:
        """The files of the survey."""
        return self.survey().files

    def peek(self, file: SourceFile) -> Peeked:
        """Columns; ``image``, or the column that the spec names, stands for what the URI points to."""
        table, delimiter = self._table(file)
        uri = self._uri_column(file, table)
        picture = "image" if self.spec.image == "auto" else self.spec.image
        names = [name for name in table.column_names if name not in (uri, picture)]
        reason = f"called like the picture, which '{uri}' names; `source.image: {uri}` lets it pass"
        beside = {picture: reason} if picture != uri else {}
        key = None if self.spec.key == uri else find_key(self.spec, names, table.column, redact(file.uri))

        def first(name: str) -> list[Any]:
            return [value for value in table.column(name).slice(0, LOOKED_AT).to_pylist() if value]

        seen = seen_columns(table.schema, carried(names, key), first)
        left_out = {**seen.left_out, **{name: why for name, why in beside.items() if name in table.column_names}}
        kinds = {picture: "binary", **seen.kinds}
        return replace(seen, kinds=kinds, left_out=left_out, key=key, delimiter=delimiter)

    def count(self, file: SourceFile) -> int | None:
        """Rows of the manifest."""
        return self._table(file)[0].num_rows

    def read(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted = every_part) -> Iterator[Shard]:
        """Images are fetched when their shard is wanted."""
        pending = self._pending(file, layout)
        return cut_shards(file, pending, shard_size, wanted, self.spec.limit, key_hint(layout.key) or _SAME_PICTURE)

    def _table(self, file: SourceFile) -> tuple[pa.Table, str]:
        """The whole manifest, and the delimiter of a CSV file."""
        with Store(file.uri, self.spec.storage).open("") as raw:
            if file.relative.lower().endswith(LINE_SUFFIXES):
                return _read_lines(raw.read()), ""
            if not file.relative.lower().endswith(TEXT_SUFFIXES):
                return read_small_parquet(raw.read()), ""
            read = read_delimited(raw.read(), self.spec.types, redact(file.uri))
            return read.table, read.delimiter

    def _uri_column(self, file: SourceFile, table: pa.Table) -> str:
        said = self.spec.image
        # ``image`` also stands for the picture itself, whatever its column is called.
        taken = said == "auto" or (said == "image" and said not in table.column_names)
        wanted = uri_column(table.column_names) if taken else said
        if wanted is None or wanted not in table.column_names:
            raise InputError(
                f"{redact(file.uri)}: no column with image URIs among {listed(table.column_names, MOST_NAMES)}; "
                "name it with `source.image:`"
            )
        return wanted

    def _pending(self, file: SourceFile, layout: Layout) -> Iterator[Pending]:
        try:
            table, _ = self._table(file)
        except pa.ArrowException as error:
            yield broken_file(file, "damaged_manifest", f"not a readable manifest: {first_line(error)}")
            return
        uri_name = self._uri_column(file, table)
        if layout.key is not None and layout.key not in table.column_names:
            message = f"no column '{layout.key}' for keys, which other files of this source have"
            yield broken_file(file, "no_key_column", message)
            return
        folder = file.uri.rpartition("/")[0]
        uris = [_resolved(folder, str(value or "")) for value in table.column(uri_name).to_pylist()]
        names = keys_of(folder, uris)
        reader = RowReader(self.spec, layout, table.drop_columns([uri_name]).schema)
        rows = (row for batch in table.to_batches(max_chunksize=256) for row in batch.to_pylist())
        for number, (row, uri, name) in enumerate(zip(rows, uris, names, strict=True)):
            key = reader.key(row) or name
            findings = () if number else reader.findings
            fetch_it = partial(self._fetch, key, uri, reader, row)
            yield Pending(key, fetch_it, findings=findings, remote=protocol_of(uri) != "file")

    def _fetch(self, key: str, uri: str, reader: RowReader, row: Mapping[str, Any]) -> Fetched:
        try:
            data = fetch(uri, self.spec.storage, "the image")
        except BadSample as error:
            problem = Rejection("read", error.reason, str(error))
            return Sample(key=key, source_uri=redact(uri), problem=problem), ()
        values = {**reader.values(row), reader.layout.image: data}
        return assemble(key, redact(uri), values, reader.layout, reader.doubtful)


def _read_lines(data: bytes) -> pa.Table:
    """A JSON Lines file, with text as text: Arrow takes what looks like a date for one, and drops how it is written."""
    options = pa_json.ReadOptions(use_threads=False, block_size=_BLOCK)
    table = pa_json.read_json(io.BytesIO(data), options)
    schema = pa.schema([(field.name, _with_text(field.type)) for field in table.schema])
    if schema.equals(table.schema):
        return table
    return pa_json.read_json(io.BytesIO(data), options, pa_json.ParseOptions(explicit_schema=schema))


def _with_text(type: pa.DataType) -> pa.DataType:
    """The type that Arrow found in JSON, with text in place of times."""
    if pa.types.is_timestamp(type):
        return pa.string()
    if isinstance(type, pa.ListType):
        return pa.list_(_with_text(type.value_type))
    if isinstance(type, pa.StructType):
        return pa.struct([(type.field(n).name, _with_text(type.field(n).type)) for n in range(type.num_fields)])
    return type


def _resolved(folder: str, value: str) -> str:
    """The picture's full URI; what is relative, ``../`` too, is so to the manifest's folder."""
    value = value.removeprefix("file://")
    if "\\" in value and protocol_of(value) == "file":
        # A table that was written on Windows.
        value = value.replace("\\", "/")
    if not value or value.startswith("/") or protocol_of(value) != "file":
        return value
    scheme, mark, path = folder.rpartition("://")
    return f"{scheme}{mark}{posixpath.normpath(posixpath.join(path, value))}"


def keys_of(folder: str, uris: Sequence[str]) -> list[str]:
    """A key for each picture: its path below the root that it shares with the others, without its ending.

    The root is the manifest's folder, or the nearest one above it, where the pictures lie below; pictures that lie
    elsewhere, on another path or in another store, share a root among themselves.
    """
    home = _parts(folder)
    near, far = home, None
    # Twice over the addresses: the parts of a million of them would take half a gibibyte.
    for parts in map(_parts, uris):
        if parts[:2] == home[:2]:
            near = _shared(near, parts[:-1])
        else:
            far = _shared(far, parts[:-1])
    keys = []
    for parts in map(_parts, uris):
        root = near if parts[:2] == home[:2] else far or ()
        keys.append(posixpath.splitext("/".join(parts[len(root) :]))[0] if len(parts) > 1 else "")
    return keys


def _parts(uri: str) -> tuple[str, ...]:
    """Store and folders of a URI, without its secrets: user info and the query of a web address are no name."""
    scheme, _, path = without_secrets(uri).rpartition("://")
    return (scheme, *(part for part in path.split("/") if part)) if path else ("",)


def _shared(first: tuple[str, ...] | None, second: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that both begin with; the second where there is no first."""
    if first is None:
        return second
    while second[: len(first)] != first:
        first = first[:-1]
    return first
