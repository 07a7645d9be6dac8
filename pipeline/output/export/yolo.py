"""YOLO (Ultralytics' layout): ``images/<split>``, ``labels/<split>/*.txt`` and ``data.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar

import cv2
import numpy as np
import yaml

from methods.errors import InputError
from methods.plugins import nearest
from pipeline.labels.records import Annotation
from pipeline.output.export.shapes import box_within, has_shape, one_polygon
from pipeline.output.export.writers import ExportPlan, Picture, mask_file

TASKS = ("auto", "detect", "segment", "pose", "obb")
_OUTSIDE = "annotations without a box or area inside the picture"
_CLASSLESS = "annotations without a class"
_MASKS = "masks of a detection set: with --task segment they are written as polygons"
_POINTS = "keypoints of a set that is none of poses: with --task pose they are written"
_CROWDS = "crowd flags: YOLO has none, the regions are written as plain objects"


class YoloWriter:
    """Lines of ``class numbers...`` with numbers as shares of the picture's sides.

    The task decides what a line holds: ``detect`` centre and size, ``segment`` one polygon, ``pose`` box and keypoints,
    ``obb`` four corners. ``auto`` takes ``segment`` where every object has a mask or polygons, else ``detect``: a
    file that mixes the two is read wrongly by trainers.
    """

    flat: ClassVar[bool] = True
    image_format: ClassVar[str | None] = None

    def __init__(self, plan: ExportPlan, task: str) -> None:
        if task not in TASKS:
            raise InputError(f"--task {task}: {nearest(task, list(TASKS))}")
        self._plan = plan
        self.task = ("segment" if plan.masked else "detect") if task == "auto" else task
        points = [each.get("keypoints") for each in plan.categories.declared]
        self._points = max((len(each) for each in points if isinstance(each, list)), default=0)
        if self.task == "pose" and not self._points:
            raise InputError("--task pose: no category of the source declares keypoints; use --task detect")

    def image_path(self, picture: Picture) -> str:
        """``images/<split>/<name>``."""
        return f"images/{picture.split}/{picture.name}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """``masks/<split>/<mask>/<name>.png``."""
        return mask_file(picture, mask)

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """The picture's text file; empty for a picture without objects, which is a background picture."""
        lines = [line for found in picture.labels.annotations if (line := self._line(found, picture)) is not None]
        yield f"labels/{picture.split}/{picture.stem}.txt", "".join(f"{line}\n" for line in lines).encode()

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """``data.yaml``."""
        splits = list(self._plan.splits)
        tree: dict[str, object] = {split: f"images/{split}" for split in splits}
        # Trainers want both names.
        tree.setdefault("train", f"images/{splits[0]}")
        tree.setdefault("val", f"images/{splits[-1]}")
        names = self._plan.categories.names
        tree |= {"nc": len(names), "names": dict(enumerate(names))}
        if self.task == "pose":
            tree["kpt_shape"] = [self._points, 3]
        yield "data.yaml", yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()

    def _line(self, found: Annotation, picture: Picture) -> str | None:
        number = self._plan.categories.index_of(found)
        if number is None:
            self._plan.left_out[_CLASSLESS] += 1
            return None
        values = self._values(found, picture.width, picture.height)
        if values is None:
            self._plan.left_out[_OUTSIDE] += 1
            return None
        self._plan.left_out[_CROWDS] += found.iscrowd
        self._plan.left_out[_MASKS] += self.task == "detect" and has_shape(found)
        self._plan.left_out[_POINTS] += self.task != "pose" and bool(found.attributes.get("keypoints"))
        return " ".join([str(number), *(f"{value:.7g}" for value in values)])

    def _values(self, found: Annotation, width: int, height: int) -> list[float] | None:
        box = box_within(found, width, height)
        if box is None:
            return None
        if self.task == "segment":
            polygon = one_polygon(found, width, height) or _corners(box)
            return _shares(polygon, width, height)
        if self.task == "obb":
            polygon = one_polygon(found, width, height) or _corners(box)
            return _shares(polygon if len(polygon) == 8 else _rotated(polygon), width, height)
        x, y, w, h = box
        values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
        return values + self._keypoints(found, width, height) if self.task == "pose" else values

    def _keypoints(self, found: Annotation, width: int, height: int) -> list[float]:
        said = found.attributes.get("keypoints")
        flat = [float(value) for value in said] if isinstance(said, list) else []
        flat = (flat + [0.0] * (3 * self._points))[: 3 * self._points]
        out: list[float] = []
        for x, y, visible in zip(flat[0::3], flat[1::3], flat[2::3], strict=True):
            # A point outside the picture is not to be seen; numbers beyond 1 make trainers drop the whole picture.
            known = visible > 0 and 0 <= x <= width and 0 <= y <= height
            out += [x / width, y / height, visible] if known else [0.0, 0.0, 0.0]
        return out


def _corners(box: tuple[float, float, float, float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def _rotated(polygon: list[float]) -> list[float]:
    """The smallest rectangle around a polygon, as four corners."""
    points = np.asarray(polygon, np.float32).reshape(-1, 2)
    return cv2.boxPoints(cv2.minAreaRect(points)).reshape(-1).tolist()


def _shares(polygon: list[float], width: int, height: int) -> list[float]:
    sides = (width, height)
    return [min(max(value / sides[at % 2], 0.0), 1.0) for at, value in enumerate(polygon)]
