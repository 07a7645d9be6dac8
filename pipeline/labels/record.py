"""The label record of an output of ours, as a tar's JSON member holds it: COCO's terms, and all that is known.

The record of one picture has ``format``, ``annotations`` (COCO annotations with the name of their ``category``, masks
as compressed run lengths, all other fields under ``attributes``), ``attributes`` of the whole picture, and
``labels_raw``, the text that the labels came from. It reads back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from methods.counting import counted
from pipeline.labels import fields
from pipeline.labels.arrow import from_arrow_value
from pipeline.labels.records import Annotation, Labels

FORMAT = "sceneshift/1"


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object is such a record."""
    return str(record.get("format") or "").startswith("sceneshift/") and "annotations" in record


def to_record(value: Mapping[str, Any]) -> dict[str, Any]:
    """The record of one cell of the column ``labels`` (a ``LABELS_TYPE`` value), without ``labels_raw``."""
    labels = from_arrow_value(dict(value))
    return {
        "format": FORMAT,
        "width": labels.width,
        "height": labels.height,
        "attributes": labels.attributes,
        "annotations": [_annotation(each) for each in labels.annotations],
    }


def parse_record(record: dict[str, Any], raw: str) -> Labels:
    """The labels of one record; ``raw`` counts where the record names no text of its own.

    Raises:
        ValueError: a field of the wrong kind.
    """
    found = fields.items(record["annotations"], "annotations")
    kept = record.get("labels_raw")
    return Labels(
        width=fields.size(record.get("width"), "width"),
        height=fields.size(record.get("height"), "height"),
        annotations=[_parse(each, f"annotations[{at}]") for at, each in enumerate(found)],
        attributes=fields.text_values(record.get("attributes"), "attributes"),
        raw=kept if isinstance(kept, str) else raw,
    )


def _annotation(found: Annotation) -> dict[str, Any]:
    made: dict[str, Any] = {"id": found.id, "category": found.category, "category_id": found.category_id}
    made |= {"bbox": None if found.bbox is None else list(found.bbox), "area": found.area}
    made["iscrowd"] = int(found.iscrowd)
    if found.segmentation is not None:
        made["segmentation"] = found.segmentation
    if found.rle is not None:
        made["rle" if found.segmentation is not None else "segmentation"] = dict(found.rle)
    made["attributes"] = found.attributes
    return made


def _parse(found: dict[str, Any], what: str) -> Annotation:
    identity, shape, box, area = (found.get(name) for name in ("category_id", "segmentation", "bbox", "area"))
    mask = found.get("rle") or (shape if isinstance(shape, dict) else None)
    sides = None if box is None else fields.numbers(box, f"{what}.bbox")
    if sides is not None and len(sides) != 4:
        raise ValueError(f"{what}.bbox has {counted(len(sides), 'number')}, not 4")
    polygons = None
    if isinstance(shape, list):
        polygons = [fields.numbers(polygon, f"{what}.segmentation") for polygon in shape]
    return Annotation(
        category=str(found.get("category") or ""),
        category_id=None if identity is None else fields.whole(identity, f"{what}.category_id"),
        bbox=None if sides is None else (sides[0], sides[1], sides[2], sides[3]),
        segmentation=polygons,
        rle=None if mask is None else fields.rle(mask, f"{what}.segmentation", may_be_empty=True),
        area=None if area is None else fields.number(area, f"{what}.area"),
        iscrowd=bool(found.get("iscrowd", False)),
        id=fields.text_id(found.get("id")),
        attributes=fields.mapping(found.get("attributes"), f"{what}.attributes"),
    )


def record_text(value: Mapping[str, Any], raw: str | None) -> str:
    """The record of a ``labels`` cell as JSON text, with the text that the labels came from."""
    record = to_record(value) | ({} if raw is None else {"labels_raw": raw})
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))
