"""Pascal VOC: ``JPEGImages``, ``Annotations/*.xml``, ``ImageSets``, and segmentation where there are masks."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, ClassVar
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from pipeline.labels.records import Annotation
from pipeline.output.export.shapes import box_within, mask_of
from pipeline.output.export.writers import ExportPlan, Picture, mask_file

VOID = 255
_FLAGS = ("truncated", "difficult", "occluded")
_OUTSIDE = "annotations without a box or area inside the picture"
_CROWDS = "crowd flags: VOC has none, the regions are written as difficult objects"
_TOO_MANY = "objects that a palette of 254 has no index for: left out of the segmentation pictures"


class VocWriter:
    """Boxes as VOC counts them: whole pixels from 1, both ends inside (x 0, width 10 is xmin 1, xmax 10)."""

    flat: ClassVar[bool] = True
    image_format: ClassVar[str | None] = None

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._main: dict[str, list[str]] = {split: [] for split in plan.splits}
        self._segmented: dict[str, list[str]] = {split: [] for split in plan.splits}

    def image_path(self, picture: Picture) -> str:
        """``JPEGImages/<name>``; the splits are lists."""
        return f"JPEGImages/{picture.name}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """``masks/<split>/<mask>/<name>.png``."""
        return mask_file(picture, mask)

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """The picture's XML, and its two segmentation pictures where objects have masks."""
        self._main[picture.split].append(picture.stem)
        drawn = self._segmentation(picture)
        yield f"Annotations/{picture.stem}.xml", self._xml(picture, segmented=drawn is not None)
        if drawn is not None:
            self._segmented[picture.split].append(picture.stem)
            yield f"SegmentationClass/{picture.stem}.png", _palette_png(drawn[0])
            yield f"SegmentationObject/{picture.stem}.png", _palette_png(drawn[1])

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """The lists of pictures, and the names behind the numbers of SegmentationClass (the first line is 1)."""
        for folder, lists in (("Main", self._main), ("Segmentation", self._segmented)):
            for split, stems in lists.items():
                if stems or folder == "Main":
                    yield f"ImageSets/{folder}/{split}.txt", "".join(f"{stem}\n" for stem in stems).encode()
        yield "classes.txt", "".join(f"{name}\n" for name in self._plan.categories.names).encode()

    def _xml(self, picture: Picture, *, segmented: bool) -> bytes:
        root = ElementTree.Element("annotation")
        _add(root, "folder", "JPEGImages")
        _add(root, "filename", picture.name)
        _add(ElementTree.SubElement(root, "source"), "database", self._plan.name)
        size = ElementTree.SubElement(root, "size")
        for name, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
            _add(size, name, value)
        _add(root, "segmented", int(segmented))
        for found in picture.labels.annotations:
            box = box_within(found, picture.width, picture.height)
            if box is None:
                self._plan.left_out[_OUTSIDE] += 1
                continue
            self._object(root, found, box, picture)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="utf-8")

    def _object(
        self, root: ElementTree.Element, found: Annotation, box: tuple[float, float, float, float], picture: Picture
    ) -> None:
        made = ElementTree.SubElement(root, "object")
        index = self._plan.categories.index_of(found)
        _add(made, "name", found.category if index is None else self._plan.categories.names[index])
        _add(made, "pose", "Unspecified")
        flags = {name: _flag(found.attributes.get(name)) for name in _FLAGS}
        if found.iscrowd:
            # Evaluation passes over difficult objects as it passes over COCO's crowds.
            flags["difficult"] = 1
            self._plan.left_out[_CROWDS] += 1
        for name, value in flags.items():
            _add(made, name, value)
        bounds = ElementTree.SubElement(made, "bndbox")
        x, y, w, h = box
        left, right = _pixels(x, x + w, picture.width)
        top, bottom = _pixels(y, y + h, picture.height)
        # In this order, which some readers go by.
        for name, value in (("xmin", left), ("ymin", top), ("xmax", right), ("ymax", bottom)):
            _add(bounds, name, value)

    def _segmentation(self, picture: Picture) -> tuple[np.ndarray, np.ndarray] | None:
        """(class, object) pictures of uint8, 0 the background, or ``None`` without any mask."""
        shape = (picture.height, picture.width)
        classes, objects = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        any_mask = False
        for number, found in enumerate(picture.labels.annotations, start=1):
            mask = mask_of(found, picture.width, picture.height)
            if mask is None:
                continue
            any_mask = True
            index = self._plan.categories.index_of(found)
            if not found.iscrowd and (index is None or index + 1 >= VOID or number >= VOID):
                self._plan.left_out[_TOO_MANY] += 1
                continue
            classes[mask] = VOID if found.iscrowd or index is None else index + 1
            objects[mask] = VOID if found.iscrowd else number
        return (classes, objects) if any_mask else None


def _pixels(start: float, end: float, limit: int) -> tuple[int, int]:
    """The first and the last pixel, counted from 1, nearest to a span of a side of ``limit`` pixels."""
    first = min(math.floor(start + 0.5), limit - 1)
    return first + 1, max(math.floor(end + 0.5), first + 1)


def _flag(value: Any) -> int:
    return int(value is True or value in (1, "1", "true", "True"))


def _add(parent: ElementTree.Element, name: str, value: Any) -> None:
    # XML 1.0 has no place for control characters, escaped or not.
    ElementTree.SubElement(parent, name).text = "".join(c for c in str(value) if c.isprintable() or c in "\t\n")


def _palette_png(numbers: np.ndarray) -> bytes:
    """An indexed PNG with VOC's colours, whose pixels are the numbers."""
    image = Image.fromarray(numbers)
    image.putpalette(_palette())
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _palette() -> list[int]:
    """VOC's colour map: the bits of a number, spread over red, green and blue from the highest bit down."""
    colours: list[int] = []
    for number in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
        colours += rgb
    return colours
