"""Labels as one Arrow struct, of plain types only, so that every reader of Parquet opens them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from pipeline.labels.compact_json import compact_json
from pipeline.labels.records import Annotation, Labels, Rle

ANNOTATION_TYPE = pa.struct(
    [
        ("id", pa.string()),
        ("category", pa.string()),
        ("category_id", pa.int64()),
        ("bbox", pa.list_(pa.float64())),
        ("area", pa.float64()),
        ("iscrowd", pa.bool_()),
        ("segmentation", pa.list_(pa.list_(pa.float64()))),
        ("rle_size", pa.list_(pa.int64())),
        ("rle_counts", pa.string()),
        ("attributes", pa.string()),
    ]
)
LABELS_TYPE = pa.struct(
    [
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("attributes", pa.string()),
        ("annotations", pa.list_(ANNOTATION_TYPE)),
    ]
)
"""The index column ``labels``. Attributes are JSON objects as text; the original JSON is a column of its own."""


def to_arrow_value(labels: Labels) -> dict[str, Any]:
    """The Python value of one ``LABELS_TYPE`` cell; without ``raw``."""
    return {
        "width": labels.width,
        "height": labels.height,
        "attributes": compact_json(labels.attributes),
        "annotations": [
            {
                "id": each.id,
                "category": each.category,
                "category_id": each.category_id,
                "bbox": None if each.bbox is None else list(each.bbox),
                "area": each.area,
                "iscrowd": each.iscrowd,
                "segmentation": each.segmentation,
                "rle_size": None if each.rle is None else each.rle["size"],
                "rle_counts": None if each.rle is None else each.rle["counts"],
                "attributes": compact_json(each.attributes),
            }
            for each in labels.annotations
        ],
    }


def from_arrow_value(value: dict[str, Any], raw: str = "") -> Labels:
    """The labels of one cell, given back by Arrow, pandas (numpy arrays in it) or DuckDB."""
    return Labels(
        width=_whole(value["width"]),
        height=_whole(value["height"]),
        annotations=[_annotation(each) for each in value["annotations"]],
        attributes=json.loads(value["attributes"]),
        raw=raw,
    )


def _annotation(value: dict[str, Any]) -> Annotation:
    bbox, polygons, size = value["bbox"], value["segmentation"], value["rle_size"]
    rle: Rle | None = None
    if size is not None:
        rle = {"size": [int(side) for side in size], "counts": value["rle_counts"]}
    return Annotation(
        category=value["category"],
        category_id=_whole(value["category_id"]),
        bbox=None if bbox is None else (float(bbox[0]), float(bbox[1]), float(bbox[2]), float(bbox[3])),
        segmentation=None if polygons is None else [[float(each) for each in polygon] for polygon in polygons],
        rle=rle,
        area=None if value["area"] is None else float(value["area"]),
        iscrowd=bool(value["iscrowd"]),
        id=value["id"],
        attributes=json.loads(value["attributes"]),
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
