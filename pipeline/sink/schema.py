"""The columns of data files and of the index."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.labels.arrow import LABELS_TYPE
from pipeline.sources.layout import Layout

METRIC = "metric."
_KINDS = {
    "string": pa.string(),
    "binary": pa.binary(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}


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
            ("seed", pa.int64()),
            ("method", pa.string()),
            ("fingerprint", pa.string()),
            *((METRIC + name, pa.float64()) for name in metric_columns),
        ]
    )


def data_schema(layout: Layout, pairs: bool) -> pa.Schema:
    """What one trains on: picture, labels, caption, and everything carried through."""
    fields = [("key", pa.string()), ("variant", pa.int32()), ("image", pa.binary())]
    if pairs:
        fields.append(("source_image", pa.binary()))
    fields += [("width", pa.int32()), ("height", pa.int32()), ("caption", pa.string()), ("labels", LABELS_TYPE)]
    taken = {name for name, _ in fields}
    images = ([layout.target] if layout.target else []) + list(layout.masks)
    fields += [(column_name(name, taken), pa.binary()) for name in images]
    fields += [(column_name(name, taken), _KINDS[kind]) for name, kind in layout.carry.items()]
    return pa.schema(fields)


def column_name(name: str, taken: set[str]) -> str:
    """A carried column's name in the output; one that is ours already gets ``source_`` in front."""
    return f"source_{name}" if name in taken else name
