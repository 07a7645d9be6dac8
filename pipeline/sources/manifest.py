"""Manifests: a Parquet or CSV file with one row a sample, naming images by URI."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from methods.errors import InputError
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Pending, assemble, broken_file, cut_shards
from pipeline.sources.layout import Kind, Layout
from pipeline.sources.listing import list_files
from pipeline.sources.parquet import key_column, kind_of, known_kinds
from pipeline.spec import SourceSpec
from pipeline.storage import Store, explained, filesystem, protocol_of, redact

SUFFIXES = (".csv", ".parquet", ".pq")
URI_NAMES = ("uri", "image_uri", "url", "image_url", "path", "image_path", "file_name", "file")


def uri_column(names: Collection[str]) -> str | None:
    """The column that names images, if there is a usual one."""
    return next((name for name in URI_NAMES if name in names), None)


@dataclass(frozen=True)
class ManifestSource:
    """Rows of (image URI, anything else). Relative URIs are relative to the manifest's folder."""

    spec: SourceSpec

    def plan(self) -> list[SourceFile]:
        """Every manifest, sorted."""
        return list_files(self.spec, SUFFIXES)

    def peek(self, file: SourceFile) -> Mapping[str, Kind]:
        """Columns; ``image`` stands for what the URI points to."""
        table = self._table(file)
        uri, key = self._uri_column(file, table), key_column(self.spec, table.column_names)
        names = [name for name in table.column_names if name not in (uri, key)]
        kinds: dict[str, Kind | None] = {name: kind_of(table.schema.field(name).type) for name in names}
        return known_kinds({"image": "binary", **kinds})

    def count(self, file: SourceFile) -> int | None:
        """Rows of the manifest."""
        return self._table(file).num_rows

    def read(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Shard]:
        """Images are fetched when their shard is wanted."""
        return cut_shards(file, self._pending(file, layout), shard_size, done, self.spec.limit)

    def _table(self, file: SourceFile) -> pa.Table:
        with Store(file.uri, self.spec.storage).open("") as raw, explained(file.uri):
            return pa_csv.read_csv(raw) if file.relative.lower().endswith(".csv") else pq.read_table(raw)

    def _uri_column(self, file: SourceFile, table: pa.Table) -> str:
        wanted = self.spec.image if self.spec.image not in ("auto", "image") else uri_column(table.column_names)
        if wanted is None or wanted not in table.column_names:
            raise InputError(
                f"{redact(file.uri)}: no column with image URIs among {', '.join(table.column_names)}; "
                "name it with `source.image:`"
            )
        return wanted

    def _pending(self, file: SourceFile, layout: Layout) -> Iterator[Pending]:
        try:
            table = self._table(file)
        except pa.ArrowException as error:
            yield broken_file(file, "damaged_manifest", f"not a readable manifest: {str(error).splitlines()[0]}")
            return
        uri_name, key_name = self._uri_column(file, table), key_column(self.spec, table.column_names)
        folder = file.uri.rpartition("/")[0]
        for batch in table.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                uri = str(row.pop(uri_name) or "")
                default = posixpath.splitext(uri.split("://")[-1].lstrip("/"))[0]
                key = str(row.pop(key_name)) if key_name and key_name != uri_name and row.get(key_name) else default
                yield Pending(key, partial(self._fetch, key, uri, folder, row, layout))

    def _fetch(
        self, key: str, uri: str, folder: str, row: dict[str, Any], layout: Layout
    ) -> tuple[Sample, tuple[str, ...]]:
        if protocol_of(uri) == "file" and not uri.startswith("/"):
            uri = posixpath.join(folder, uri)
        try:
            data = filesystem(uri, self.spec.storage).cat_file(uri)
        except (OSError, InputError) as error:
            problem = Rejection("read", "missing", f"cannot fetch the image ({type(error).__name__})")
            return Sample(key=key, source_uri=redact(uri), problem=problem), ()
        return assemble(key, redact(uri), {**row, "image": data}, layout)
