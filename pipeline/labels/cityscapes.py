"""Cityscapes annotations (https://github.com/mcordts/cityscapesScripts): polygon JSON and label maps, one per picture.

``x_gtFine_polygons.json`` becomes annotations; ``x_gtFine_labelIds.png``, ``..._instanceIds.png`` and
``..._labelTrainIds.png`` become masks, which follow the picture's geometry.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from methods.counting import counted
from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.document import parse_json
from pipeline.labels.files import LabelFiles
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import TableInfo, TableWriter

_NAME = re.compile(
    r"(?P<stem>.+?)_gt(Fine|Coarse|BboxCityPersons)(_(?P<kind>polygons|labelIds|instanceIds|labelTrainIds|color))?\.(json|png)$"
)
_MASKS = {"labelIds": "labelIds.png", "instanceIds": "instanceIds.png", "labelTrainIds": "trainIds.png"}
CLASSES = (
    "unlabeled",
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "road",
    "sidewalk",
    "parking",
    "rail track",
    "building",
    "wall",
    "fence",
    "guard rail",
    "bridge",
    "tunnel",
    "pole",
    "polegroup",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "caravan",
    "trailer",
    "train",
    "motorcycle",
    "bicycle",
)
"""Class names by label id (labels.py of cityscapesScripts); the license plate is -1."""

_IDS = {name: number for number, name in enumerate(CLASSES)} | {"license plate": -1}


def is_label_map(name: str) -> bool:
    """Whether a file is one of the label maps of a Cityscapes folder, and so no photo."""
    found = _NAME.search(posixpath.basename(name))
    return bool(found) and name.endswith(".png")


def read_cityscapes(files: LabelFiles, writer: TableWriter) -> None:
    """Put polygon files and label maps into a table, by picture (``train/aachen/aachen_000000_000019_leftImg8bit``).

    Raises:
        InputError: no Cityscapes file there.
    """
    texts: dict[str, str] = {}
    masks: dict[str, dict[str, str]] = {}
    for name in files.named(".json", ".png"):
        found = _NAME.search(posixpath.basename(name))
        if not found:
            continue
        picture = posixpath.join(posixpath.dirname(name), f"{found['stem']}_leftImg8bit")
        # gtFine/train/aachen beside leftImg8bit/train/aachen
        picture = re.sub(r"^(.*/)?gt(Fine|Coarse)/", "", picture)
        if name.endswith(".json") and picture not in texts:
            texts[picture] = name
        elif found["kind"] in _MASKS:
            masks.setdefault(picture, {})[_MASKS[found["kind"]]] = files.uri(name)
    if not texts and not masks:
        raise InputError(
            f"{files.where('')}: no Cityscapes annotation (x_gtFine_polygons.json) here; check source.labels.uri"
        )
    writer.categories = [{"id": number, "name": name} for name, number in _IDS.items()]
    for number, picture in enumerate(sorted(texts.keys() | masks.keys())):
        text = ""
        if picture in texts:
            text = files.record(texts[picture])
        writer.add(picture, text, file=number, masks=masks.get(picture), path=texts.get(picture))
    writer.finish()


def parse_cityscapes(text: str, size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels of one picture; without objects where there are only label maps.

    Raises:
        ValueError: no JSON, or not a polygon file. Objects that cannot be read go to ``problems``.
    """
    if not text:
        return Labels()
    document = fields.mapping(parse_json(text), "the document")
    found = document.get("objects")
    if not isinstance(found, list):
        raise ValueError("there is no list 'objects' in it")
    kept = [each for each in found if not (isinstance(each, dict) and _taken_back(each))]
    left_out: list[str] = []

    def read(value: Any, what: str) -> Annotation:
        return _annotation(value, what, left_out)

    annotations, problems = fields.each_readable(kept, read, "objects")
    return Labels(
        width=fields.size(document.get("imgWidth"), "imgWidth"),
        height=fields.size(document.get("imgHeight"), "imgHeight"),
        annotations=annotations,
        raw=text,
        problems=(*problems, *left_out),
    )


def _taken_back(found: dict[str, Any]) -> bool:
    """Whether an annotator took the object back; the tools ignore such objects."""
    return found.get("deleted") in (1, True)


def _annotation(value: Any, what: str, left_out: list[str]) -> Annotation:
    found = fields.mapping(value, what)
    label = found.get("label")
    if not isinstance(label, str) or not label:
        raise ValueError(f"{what} has no label")
    # A group of things whose members are not separated carries its class with "group" behind it.
    crowd = label not in _IDS and label.removesuffix("group") in _IDS
    category = label.removesuffix("group") if crowd else label
    extra = {key: each for key, each in found.items() if key not in ("label", "polygon", "bbox", "id", "deleted")}
    notes: list[str] = []
    bbox = polygon = None
    if found.get("bbox") is not None:
        bbox = fields.part(lambda: _box(found["bbox"], f"{what}.bbox"), notes)
    if found.get("polygon") is not None:
        polygon = fields.part(lambda: _polygon(found["polygon"], f"{what}.polygon"), notes)
    fields.placed((bbox, polygon), notes, what)
    left_out += notes
    return Annotation(
        category=category,
        category_id=_IDS.get(category),
        bbox=bbox,
        segmentation=None if polygon is None else [polygon],
        iscrowd=crowd,
        id=fields.text_id(found.get("id")),
        attributes=extra,
    )


def _box(value: Any, what: str) -> tuple[float, float, float, float]:
    sides = fields.numbers(value, what)
    if len(sides) != 4:
        raise ValueError(f"{what} has {counted(len(sides), 'number')}, not 4")
    return fields.box(sides[0], sides[1], sides[2], sides[3], what)


def _polygon(value: Any, what: str) -> list[float]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is not a list of points")
    points = [fields.numbers(each, what) for each in value]
    if any(len(point) != 2 for point in points):
        raise ValueError(f"{what} has a point that is not [x, y]")
    return fields.polygon([each for point in points for each in point], what)
