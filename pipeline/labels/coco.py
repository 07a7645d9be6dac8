"""COCO instance JSON (https://cocodataset.org/#format-data): whole files, and records of one picture."""

from __future__ import annotations

import json
from typing import Any

from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.document import parse_file
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import LabelTable

_OWN = {"id", "image_id", "category_id", "category", "category_name", "bbox", "segmentation", "area", "iscrowd"}


def load_coco(data: bytes, where: str = "the label file") -> LabelTable:
    """Read a COCO file of many pictures: ``{images, annotations, categories}``.

    Annotations of pictures that the file does not list are left out. Single annotations are checked when their picture
    is looked up, so that one wrong box costs one sample and not the job.

    Raises:
        InputError: not JSON (line and column are named), or not a COCO file.
    """
    document = parse_file(data, where)
    try:
        whole = fields.mapping(document, "the document")
        missing = [name for name in ("images", "annotations") if name not in whole]
        if missing:
            raise ValueError(f"there is no '{missing[0]}' in it")
        images = fields.items(whole["images"], "images")
        categories = fields.items(whole.get("categories"), "categories")
        grouped: dict[Any, list[dict[str, Any]]] = {}
        for annotation in fields.items(whole["annotations"], "annotations"):
            grouped.setdefault(_hashable(annotation.get("image_id")), []).append(annotation)
        by_id = {_hashable(category.get("id")): category for category in categories}
        table = LabelTable(parse_record, categories)
        for at, image in enumerate(images):
            name = image.get("file_name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"images[{at}] has no file_name")
            mine = grouped.get(_hashable(image.get("id")), [])
            used = {_hashable(annotation.get("category_id")) for annotation in mine}
            record = {
                "image": image,
                "annotations": mine,
                "categories": [category for key, category in by_id.items() if key in used],
            }
            table.add(name, json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    except ValueError as error:
        raise InputError(
            f"{where} is no COCO label file: {error}; give labels.uri a file with images, annotations and categories"
        ) from None
    return table


def parse_record(record: dict[str, Any], raw: str) -> Labels:
    """The labels of one picture from ``{image, annotations, categories}`` (``image`` may be missing, or a list
    ``images`` of one; width and height may also stand beside ``annotations``).

    Raises:
        ValueError: a field of the wrong kind.
    """
    images = fields.items(record.get("images"), "images")
    if len(images) > 1:
        raise ValueError(f"the record of one sample lists {len(images)} images")
    beside = {name: record.get(name) for name in ("width", "height")}
    image = {**beside, **(images[0] if images else {})}
    if isinstance(record.get("image"), dict):
        image.update(record["image"])
    names = {
        _hashable(category.get("id")): str(category.get("name", ""))
        for category in fields.items(record.get("categories"), "categories")
    }
    found = fields.items(record.get("annotations"), "annotations")
    return Labels(
        width=fields.size(image.get("width"), "width"),
        height=fields.size(image.get("height"), "height"),
        annotations=[_annotation(each, names, f"annotations[{at}]") for at, each in enumerate(found)],
        attributes=fields.text_values(image.get("attributes"), "attributes"),
        raw=raw,
    )


def _annotation(found: dict[str, Any], names: dict[Any, str], what: str) -> Annotation:
    identity = found.get("category_id")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, int)):
        raise ValueError(f"{what}.category_id is not a whole number")
    named = found.get("category", found.get("category_name", names.get(identity)))
    bbox = None
    if found.get("bbox") is not None:
        sides = fields.numbers(found["bbox"], f"{what}.bbox")
        if len(sides) != 4:
            raise ValueError(f"{what}.bbox has {len(sides)} numbers, not 4")
        x, y, width, height = sides
        bbox = fields.box(x, y, width, height, f"{what}.bbox")
    shape = found.get("segmentation")
    polygons = rle = None
    if isinstance(shape, dict):
        rle = fields.rle(shape, f"{what}.segmentation")
    elif shape:
        if not isinstance(shape, list):
            raise ValueError(f"{what}.segmentation is neither polygons nor a mask")
        polygons = [fields.numbers(polygon, f"{what}.segmentation") for polygon in shape]
        if any(len(polygon) % 2 for polygon in polygons):
            raise ValueError(f"{what}.segmentation has a polygon with an odd number of coordinates")
    extra = {key: value for key, value in found.items() if key not in _OWN and key != "attributes"}
    extra.update(fields.mapping(found.get("attributes"), f"{what}.attributes"))
    if extra.get("keypoints") is not None and len(fields.numbers(extra["keypoints"], f"{what}.keypoints")) % 3:
        raise ValueError(f"{what}.keypoints is not a list of (x, y, visible)")
    return Annotation(
        category=str(named) if named is not None else "" if identity is None else str(identity),
        category_id=identity,
        bbox=bbox,
        segmentation=polygons,
        rle=rle,
        area=None if found.get("area") is None else fields.number(found["area"], f"{what}.area"),
        iscrowd=bool(found.get("iscrowd", False)),
        id=fields.text_id(found.get("id")),
        attributes=extra,
    )


def _hashable(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise ValueError("an id is a list or an object")
    return value
