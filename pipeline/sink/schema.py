"""The columns of data files and of the index."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.labels.arrow import LABELS_TYPE
from pipeline.sources.columns import type_of
from pipeline.sources.layout import Layout
from pipeline.sources.outputs import PARQUET_META, note_of

METRIC = "metric."


def index_schema(metric_columns: Sequence[str]) -> pa.Schema:
    """One row for every (sample, variant) attempted; no pictures."""
    return pa.schema(
        [
            ("key", pa.string()),
            ("variant", pa.int32()),
            ("status", pa.string()),
            ("stage", pa.string()),
            ("error", pa.string()),
            ("message", pa.string()),
            ("shard", pa.string()),
            ("row", pa.int32()),
            ("offset", pa.int64()),
            ("size", pa.int64()),
            ("source_uri", pa.string()),
            ("source_sha256", pa.string()),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("caption", pa.string()),
            ("labels", LABELS_TYPE),
            ("labels_raw", pa.string()),
            ("label_problems", pa.list_(pa.string())),
            ("seed", pa.int64()),
            ("method", pa.string()),
            ("fingerprint", pa.string()),
            *((METRIC + name, pa.float64()) for name in metric_columns),
        ]
    )


def data_schema(layout: Layout, pairs: bool, *, loose: bool = False, variants: int = 1) -> pa.Schema:
    """What one trains on: picture, labels, caption, and everything passed through.

    With ``loose`` pictures ``image`` is a path relative to the data file. The schema's metadata say which column plays
    which part, for a job that takes the file as its source.
    """
    passthrough = passthrough_columns(layout, pairs)
    kinds = {column: layout.carry.get(name, "binary") for name, column in passthrough.items()}
    carry = {column: layout.carry[name] for name, column in passthrough.items() if name in layout.carry}
    own = Layout(
        image="image",
        target=passthrough.get(layout.target or ""),
        caption="caption",
        labels="labels",
        labels_source="labels_raw",
        masks=tuple(passthrough[name] for name in layout.masks),
        carry=carry | ({"source_image": "binary"} if pairs else {}),
        key="key",
        variants=variants,
    )
    mine = [("image", pa.string()) if loose and name == "image" else (name, kind) for name, kind in _own_fields(pairs)]
    fields = [*mine, *((column, type_of(kind)) for column, kind in kinds.items())]
    return pa.schema(fields, {PARQUET_META: note_of(own)})


def passthrough_columns(layout: Layout, pairs: bool) -> dict[str, str]:
    """Source name -> output column of target, masks and passthrough; a name of ours gets ``source_`` in front."""
    taken = {name for name, _ in _own_fields(pairs)}
    columns: dict[str, str] = {}
    for name in [*([layout.target] if layout.target else []), *layout.masks, *layout.carry]:
        column = name
        while column in taken:
            column = f"source_{column}"
        taken.add(column)
        columns[name] = column
    return columns


def _own_fields(pairs: bool) -> list[tuple[str, pa.DataType]]:
    fields = [("key", pa.string()), ("variant", pa.int32()), ("image", pa.binary())]
    if pairs:
        fields.append(("source_image", pa.binary()))
    fields += [("width", pa.int32()), ("height", pa.int32()), ("caption", pa.string())]
    return [*fields, ("labels", LABELS_TYPE), ("labels_raw", pa.string())]
