"""Labels of a whole dataset back to the files that training code reads: COCO and BDD100K JSON."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.labels import bdd100k
from pipeline.labels.document import parse_text
from pipeline.labels.records import Annotation, Labels

Row = tuple[str, str, int, int, Labels]
"""(key, file name, width, height, labels) of one picture as it was written."""

_COCO_TOP_LEVEL = {"keypoints", "num_keypoints", "score", "caption"}


def to_coco(rows: Iterable[Row], categories: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """One COCO document, ready for pycocotools.

    Ids of pictures and annotations are 52-bit hashes of key and position: unique, and the same however many other
    pictures are exported. Annotations without a box (tags, lines without area) are left out, as COCO cannot hold them.

    Args:
        rows: the pictures.
        categories: COCO's list, kept as it is and continued for names it lacks; else the names found, sorted, from 1.
    """
    kept = list(rows)
    names = sorted({each.category for *_, labels in kept for each in labels.annotations if _coco_box(each)})
    listed = [dict(category) for category in categories or ()]
    numbers = {str(category["name"]): int(category["id"]) for category in listed}
    for name in names:
        if name not in numbers:
            numbers[name] = max(numbers.values(), default=0) + 1
            listed.append({"id": numbers[name], "name": name})
    images, annotations = [], []
    image_ids, annotation_ids = _Ids(), _Ids()
    for key, file_name, width, height, labels in kept:
        image_id = image_ids.new(key)
        image: dict[str, Any] = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        if labels.attributes:
            image["attributes"] = labels.attributes
        images.append(image)
        for at, found in enumerate(labels.annotations):
            box = _coco_box(found)
            if box is None:
                continue
            annotations.append(
                {
                    "id": annotation_ids.new(f"{key}\0{at}"),
                    "image_id": image_id,
                    "category_id": numbers[found.category],
                    "bbox": box,
                    "area": box[2] * box[3] if found.area is None else found.area,
                    "iscrowd": int(found.iscrowd),
                    **_coco_shape(found),
                    **_coco_extra(found),
                }
            )
    return {"images": images, "annotations": annotations, "categories": listed}


def to_bdd100k(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """A list of BDD100K frames, each with the picture's new file name.

    Frames that came from BDD100K keep their original structure and every field; boxes and polygons that moved are
    replaced, labels that a crop removed are left out. Others are built from what is known.
    """
    return [_frame(*row) for row in rows]


class _Ids:
    """Numbers from names: hashes below 2**52, which floats hold exactly, as pycocotools needs."""

    def __init__(self) -> None:
        self._taken: set[int] = {0}

    def new(self, name: str) -> int:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 12
        while number in self._taken:
            number += 1
        self._taken.add(number)
        return number


def _polygons(found: Annotation) -> list[list[float]]:
    """The closed polygons of at least three points (pycocotools takes four numbers for a box)."""
    pairs = zip(found.segmentation or [], found.shapes(), strict=True)
    return [polygon for polygon, shape in pairs if shape["closed"] and len(polygon) >= 6]


def _coco_box(found: Annotation) -> list[float] | None:
    if found.bbox is not None:
        return list(found.bbox)
    polygons = _polygons(found)
    if not polygons:
        return None
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _coco_shape(found: Annotation) -> dict[str, Any]:
    if found.rle is not None:
        return {"segmentation": dict(found.rle)}
    polygons = _polygons(found)
    return {"segmentation": polygons} if polygons else {}


def _coco_extra(found: Annotation) -> dict[str, Any]:
    extra = {key: value for key, value in found.attributes.items() if key != "poly2d"}
    top = {key: extra.pop(key) for key in _COCO_TOP_LEVEL & extra.keys()}
    return {**top, "attributes": extra} if extra else top


def _frame(key: str, file_name: str, width: int, height: int, labels: Labels) -> dict[str, Any]:
    frame = _original_frame(labels.raw)
    if frame is None:
        return {
            "name": file_name,
            "attributes": dict(labels.attributes),
            "size": {"width": width, "height": height},
            "labels": [_new_object(found) for found in labels.annotations],
        }
    originals = bdd100k.objects(frame)
    before = bdd100k.parse_frame(frame, labels.raw).annotations
    remaining, kept = iter(zip(originals, before, strict=True)), []
    for found in labels.annotations:
        # A crop drops annotations and keeps the order, so each is the next original of the same id and class.
        same = next((pair for pair in remaining if (pair[1].id, pair[1].category) == (found.id, found.category)), None)
        kept.append(_moved_object(*same, found) if same else _new_object(found))
    frame["name"] = file_name
    if "size" in frame:
        frame["size"] = {"width": width, "height": height}
    if "frames" in frame:
        frame["frames"][0]["objects"] = kept
    elif kept or frame.get("labels") is not None:
        frame["labels"] = kept
    return frame


def _original_frame(raw: str) -> dict[str, Any] | None:
    """The BDD100K frame that labels came from; ``None`` when they came from something else."""
    if not raw:
        return None
    record = parse_text(raw)[0]
    if isinstance(record, list):
        record = record[0]
    return None if "annotations" in record else copy.deepcopy(record)


def _moved_object(original: dict[str, Any], before: Annotation, found: Annotation) -> dict[str, Any]:
    moved = dict(original)
    if found.bbox is not None and found.bbox != before.bbox:
        moved["box2d"] = {**(original.get("box2d") or {}), **_box2d(found.bbox)}
    if found.segmentation is not None and found.segmentation != before.segmentation:
        moved["poly2d"] = _poly2d(found, old=isinstance((original.get("poly2d") or [{}])[0], list))
    if found.rle is not None and found.rle != before.rle:
        moved["rle"] = dict(found.rle)
    return moved


def _new_object(found: Annotation) -> dict[str, Any]:
    made: dict[str, Any] = {"id": found.id, "category": found.category}
    made["attributes"] = {key: value for key, value in found.attributes.items() if key != "poly2d"}
    if found.bbox is not None:
        made["box2d"] = _box2d(found.bbox)
    if found.segmentation is not None:
        made["poly2d"] = _poly2d(found, old=False)
    if found.rle is not None:
        made["rle"] = dict(found.rle)
    return made


def _box2d(box: tuple[float, float, float, float]) -> dict[str, float]:
    x, y, width, height = box
    return {"x1": x, "y1": y, "x2": x + width, "y2": y + height}


def _poly2d(found: Annotation, old: bool) -> list[Any]:
    drawn = []
    for polygon, shape in zip(found.segmentation or [], found.shapes(), strict=True):
        vertices = [[x, y] for x, y in zip(polygon[0::2], polygon[1::2], strict=True)]
        if old:
            # The layout of 2018 holds one polygon an object; a line that a crop cut in pieces keeps its first.
            return [[*vertex, kind] for vertex, kind in zip(vertices, shape["types"], strict=True)]
        drawn.append({"vertices": vertices, "types": shape["types"], "closed": shape["closed"]})
    return drawn
