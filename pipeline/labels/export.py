"""Labels of a whole dataset back to the files that training code reads: COCO and BDD100K JSON."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.labels import bdd100k, fields, rle
from pipeline.labels.categories import Categories
from pipeline.labels.document import parse_text
from pipeline.labels.records import Annotation, Labels

Row = tuple[str, str, int, int, Labels]
"""(key, file name, width, height, labels) of one picture as it was written."""

_COCO_TOP_LEVEL = {"keypoints", "num_keypoints", "score", "caption", "ignore"}


class CocoRecords:
    """Pictures to COCO's records, one after the other.

    Ids of pictures and annotations are 52-bit hashes of key and position: unique, and the same however many other
    pictures are exported. Annotations without a box (tags, lines without area) are left out, as COCO cannot hold them.
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self._image_ids, self._annotation_ids = _Ids(), _Ids()

    def of(self, row: Row) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The picture's entry of ``images``, and its entries of ``annotations``."""
        key, file_name, width, height, labels = row
        image_id = self._image_ids.new(key)
        image: dict[str, Any] = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        if labels.attributes:
            image["attributes"] = labels.attributes
        annotations = []
        for at, found in enumerate(labels.annotations):
            box = coco_box(found)
            if box is None:
                continue
            annotations.append(
                {
                    "id": self._annotation_ids.new(f"{key}\0{at}"),
                    "image_id": image_id,
                    "category_id": self.categories.id_of(found),
                    "bbox": box,
                    "area": box[2] * box[3] if found.area is None else found.area,
                    "iscrowd": int(found.iscrowd),
                    **_coco_shape(found),
                    **_coco_extra(found),
                }
            )
        return image, annotations


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


def closed_polygons(found: Annotation) -> list[list[float]]:
    """The closed polygons of at least three points (pycocotools takes four numbers for a box)."""
    pairs = zip(found.segmentation or [], found.shapes(), strict=True)
    return [polygon for polygon, shape in pairs if shape["closed"] and len(polygon) >= 6]


def coco_box(found: Annotation) -> list[float] | None:
    """[x, y, width, height]: the box, else that of the mask or of the closed polygons; ``None`` without any of them."""
    if found.bbox is not None:
        return list(found.bbox)
    if found.rle is not None:
        return _mask_box(rle.decode(found.rle))
    polygons = closed_polygons(found)
    if not polygons:
        return None
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _mask_box(mask: np.ndarray) -> list[float] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    left, top = float(columns[0]), float(rows[0])
    return [left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top]


def _coco_shape(found: Annotation) -> dict[str, Any]:
    if found.rle is not None:
        return {"segmentation": dict(found.rle)}
    polygons = closed_polygons(found)
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
    pairs: list[tuple[dict[str, Any], Annotation]] = []
    for original in bdd100k.objects(frame):
        # What cannot be read has been left out of the labels, and is counted there.
        with contextlib.suppress(ValueError):
            pairs.append((original, bdd100k.annotation(original, "label", [])))
    remaining, kept = iter(pairs), []
    for found in labels.annotations:
        # A crop drops annotations and keeps the order, so each is the next original of the same id and class.
        same = next((pair for pair in remaining if (pair[1].id, pair[1].category) == (found.id, found.category)), None)
        kept.append(_moved_object(same[0], same[1], found) if same else _new_object(found))
    frame["name"] = file_name
    said = fields.text_values(frame.get("attributes"), "attributes")
    changed = {name: value for name, value in labels.attributes.items() if said.get(name) != value}
    if changed:
        frame["attributes"] = {**(frame.get("attributes") or {}), **changed}
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
    if found.bbox is None:
        moved.pop("box2d", None)
    elif found.bbox != before.bbox:
        moved["box2d"] = {**(original.get("box2d") or {}), **_box2d(found.bbox)}
    if found.segmentation is not None and found.segmentation != before.segmentation:
        moved["poly2d"] = _poly2d(found, old=isinstance((original.get("poly2d") or [{}])[0], list))
    if found.rle is not None and found.rle != before.rle:
        moved["rle"] = dict(found.rle)
    return moved


def _new_object(found: Annotation) -> dict[str, Any]:
    made: dict[str, Any] = {"id": found.id, "category": found.category}
    made["attributes"] = {key: value for key, value in found.attributes.items() if key != "poly2d"}
    if found.iscrowd:
        made["attributes"]["crowd"] = True
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
            # The layout of 2018 holds one polygon per object; a line that a crop cut in pieces keeps its first.
            return [[*vertex, kind] for vertex, kind in zip(vertices, shape["types"], strict=True)]
        drawn.append({"vertices": vertices, "types": shape["types"], "closed": shape["closed"]})
    return drawn
