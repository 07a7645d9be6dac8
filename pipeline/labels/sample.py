"""The labels of one sample from the JSON that travels beside its picture."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.labels import bdd100k, coco
from pipeline.labels.document import parse_one
from pipeline.labels.records import Labels

LabelFormat = Literal["auto", "coco", "bdd100k"]


def parse_sample(data: bytes | str, format: LabelFormat = "auto") -> Labels:
    """Labels from one BDD100K frame or one COCO record (see :func:`pipeline.labels.coco.parse_record`).

    ``auto`` takes what has ``annotations`` for COCO and what has ``labels``, ``frames`` or a frame's ``name`` and
    ``attributes`` for BDD100K.

    Raises:
        BadSample: reason ``bad_labels``, for anything else.
    """
    return parse_one(data, {"auto": _parse_any, "coco": coco.parse_record, "bdd100k": bdd100k.parse_frame}[format])


def _parse_any(record: dict[str, Any], text: str) -> Labels:
    if "annotations" in record:
        return coco.parse_record(record, text)
    if "labels" in record or "frames" in record or {"name", "attributes"} <= record.keys():
        return bdd100k.parse_frame(record, text)
    raise ValueError(f"neither a BDD100K frame nor a COCO record (it has: {', '.join(list(record)[:6]) or 'nothing'})")
