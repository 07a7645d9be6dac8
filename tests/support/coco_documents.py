"""Pictures as one COCO document in memory; the package itself writes such files row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.labels.categories import Categories
from pipeline.labels.export import CocoRecords, Row, coco_box


def to_coco(rows: Iterable[Row], categories: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """One COCO document, ready for pycocotools.

    Args:
        rows: the pictures.
        categories: COCO's list of the source, kept as it is and continued for names without an id.
    """
    kept = list(rows)
    found = ((each.category_id, each.category) for *_, labels in kept for each in labels.annotations if coco_box(each))
    records = CocoRecords(Categories(categories or (), found))
    images, annotations = [], []
    for row in kept:
        image, mine = records.of(row)
        images.append(image)
        annotations += mine
    return {"images": images, "annotations": annotations, "categories": records.categories.declared}
