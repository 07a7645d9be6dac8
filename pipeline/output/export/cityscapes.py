"""Cityscapes: ``leftImg8bit/<split>/<city>`` beside ``gtFine/<split>/<city>`` with polygons, labelIds, instanceIds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

from pipeline import codec
from pipeline.labels.records import Annotation
from pipeline.output.export.shapes import mask_of, one_polygon
from pipeline.output.export.writers import ExportPlan, Picture

# Name: (id, has instances), as in cityscapesscripts/helpers/labels.py of the benchmark's authors.
CLASSES: Mapping[str, tuple[int, bool]] = {
    "unlabeled": (0, False),
    "ego vehicle": (1, False),
    "rectification border": (2, False),
    "out of roi": (3, False),
    "static": (4, False),
    "dynamic": (5, False),
    "ground": (6, False),
    "road": (7, False),
    "sidewalk": (8, False),
    "parking": (9, False),
    "rail track": (10, False),
    "building": (11, False),
    "wall": (12, False),
    "fence": (13, False),
    "guard rail": (14, False),
    "bridge": (15, False),
    "tunnel": (16, False),
    "pole": (17, False),
    "polegroup": (18, False),
    "traffic light": (19, False),
    "traffic sign": (20, False),
    "vegetation": (21, False),
    "terrain": (22, False),
    "sky": (23, False),
    "person": (24, True),
    "rider": (25, True),
    "car": (26, True),
    "truck": (27, True),
    "bus": (28, True),
    "caravan": (29, True),
    "trailer": (30, True),
    "train": (31, True),
    "motorcycle": (32, True),
    "bicycle": (33, True),
}
_KINDS = ("labelTrainIds", "labelIds", "instanceIds", "color")
_CITY = re.compile(r"([A-Za-z-]+)_\d+_\d+")
_ENDING = re.compile(r"_(leftImg8bit|gtFine\w*)$")
_SHAPELESS = "annotations without an area: Cityscapes has no boxes"
_UNKNOWN = "objects of classes that Cityscapes does not number: in the polygons, not in the label maps"


class CityscapesWriter:
    """Polygons by the names of the source; label maps with Cityscapes' own numbers.

    Label maps that the samples carry as masks are taken as they are instead of being drawn. The city is that of a
    name like ``aachen_000000_000019``, else the last folder of the key, else ``scenes``.
    """

    flat: ClassVar[bool] = True
    image_format: ClassVar[str | None] = "png"

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan

    def image_path(self, picture: Picture) -> str:
        """``leftImg8bit/<split>/<city>/<name>_leftImg8bit.png``."""
        ending = picture.name.rpartition(".")[2]
        return f"leftImg8bit/{picture.split}/{_city(picture)}/{_stem(picture)}_leftImg8bit.{ending}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """Among the others in gtFine, under its own kind where the name says one."""
        return f"{_truth(picture)}_{_kind(mask) or mask.rsplit('.', 1)[0]}.png"

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Polygons, and the label maps that are not carried along."""
        objects, drawn = [], []
        for found in picture.labels.annotations:
            polygon = one_polygon(found, picture.width, picture.height)
            if polygon is None:
                self._plan.left_out[_SHAPELESS] += 1
                continue
            label = found.category + "group" * found.iscrowd
            points = zip(polygon[0::2], polygon[1::2], strict=True)
            objects.append({"label": label, "polygon": [[_short(x), _short(y)] for x, y in points]})
            drawn.append(found)
        tree = {"imgHeight": picture.height, "imgWidth": picture.width, "objects": objects}
        yield f"{_truth(picture)}_polygons.json", json.dumps(tree, ensure_ascii=False).encode()
        carried = {_kind(name) for name in masks}
        maps = self._maps(picture, drawn) if not {"labelIds", "instanceIds"} <= carried else {}
        for kind, numbers in maps.items():
            if kind not in carried:
                yield f"{_truth(picture)}_{kind}.png", codec.encode_mask(numbers)

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """Nothing: every file is of one picture."""
        return iter(())

    def _maps(self, picture: Picture, drawn: list[Annotation]) -> dict[str, np.ndarray]:
        shape = (picture.height, picture.width)
        labels, instances = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
        counts: dict[int, int] = {}
        for found in drawn:
            known = CLASSES.get(found.category)
            mask = mask_of(found, picture.width, picture.height)
            if known is None or mask is None:
                self._plan.left_out[_UNKNOWN] += 1
                continue
            number, has_instances = known
            labels[mask] = number
            if has_instances and not found.iscrowd:
                instances[mask] = number * 1000 + counts.get(number, 0)
                counts[number] = counts.get(number, 0) + 1
            else:
                instances[mask] = number
        return {"labelIds": labels, "instanceIds": instances}


def _stem(picture: Picture) -> str:
    return _ENDING.sub("", picture.stem)


def _city(picture: Picture) -> str:
    if named := _CITY.match(picture.stem):
        return named.group(1)
    return picture.key.rpartition("/")[0].rpartition("/")[2] or "scenes"


def _truth(picture: Picture) -> str:
    return f"gtFine/{picture.split}/{_city(picture)}/{_stem(picture)}_gtFine"


def _kind(mask: str) -> str | None:
    return next((kind for kind in _KINDS if kind.lower() in mask.lower()), None)


def _short(value: float) -> Any:
    return int(value) if value == int(value) else round(value, 3)
