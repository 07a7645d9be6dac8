"""A shard as one Parquet file: one row per picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import Row
from pipeline.sink.schema import data_schema, passthrough_columns
from pipeline.sources.layout import Layout


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file whose bytes depend on the table alone. Pictures are not compressed twice."""
    sink = pa.BufferOutputStream()
    codecs = _codecs(table.schema)
    pq.write_table(
        table,
        sink,
        compression=cast("Any", codecs),
        use_dictionary=False,
        row_group_size=256,
        # The least and the greatest picture of a file mean nothing, and their bytes would be stored twice.
        write_statistics=cast("Any", [path for path, codec in codecs.items() if codec != "none"]),
    )
    return sink.getvalue().to_pybytes()


@cache
def _codecs(schema: pa.Schema) -> dict[str, str]:
    """Codec by leaf path (``labels.annotations.list.element.id``), the only names that pyarrow takes."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    leaves = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    paths = [leaves.column(number).path for number in range(len(leaves))]
    pictures = {field.name for field in schema if pa.types.is_binary(field.type)}
    return {path: "none" if path in pictures else "zstd" for path in paths}


def write_parquet(
    rows: Sequence[Row], layout: Layout, pairs: bool, loose: Sequence[str] | None = None, variants: int = 1
) -> tuple[bytes, list[dict[str, int]]]:
    """(file bytes, {row: number} of each picture); ``rows`` are the ok ones, in order.

    ``loose`` gives the places of pictures that are files of their own, relative to this one.
    """
    schema = data_schema(layout, pairs, loose=loose is not None, variants=variants)
    columns: dict[str, list] = {
        "key": [row.key for row in rows],
        "variant": [row.variant for row in rows],
        "image": list(loose) if loose is not None else [row.image for row in rows],
        "source_image": [row.source_image for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "caption": [row.caption for row in rows],
        "labels": [row.labels for row in rows],
        "labels_raw": [row.labels_raw for row in rows],
    }
    for name, column in passthrough_columns(layout, pairs).items():
        columns[column] = [row.passthrough.get(name) if name in layout.carry else row.masks.get(name) for row in rows]
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return parquet_bytes(pa.Table.from_arrays(arrays, schema=schema)), [{"row": n} for n in range(len(rows))]
