"""What is known about the objects in one picture, in COCO's terms and whatever format it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict


class Shape(TypedDict):
    """How BDD100K draws one polygon: ``types`` has one letter a vertex (L: point, C: Bezier), ``closed`` is no line."""

    types: str
    closed: bool


class Rle(TypedDict):
    """A mask as COCO's compressed run-length string.

    ``size`` is [height, width]; ``counts`` the ASCII string that pycocotools writes.
    """

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object. Coordinates are pixels, x right and y down, (0, 0) the outer corner of the picture's first pixel.

    Attributes:
        category: name of the class; empty where the source has none.
        category_id: the source's own number of the class (COCO category id, YOLO class index), never renumbered.
        bbox: (x, y, width, height).
        segmentation: polygons, each [x0, y0, x1, y1, ...]. BDD100K's lines are here too: ``attributes["poly2d"]`` holds
            one :class:`Shape` a polygon, in the same order. A rotated box is one polygon of its four corners, marked
            by ``attributes["obb"]``: under an uneven resize an angle would no longer describe it.
        rle: mask, instead of polygons.
        area: of the object, in square pixels.
        iscrowd: COCO's flag for a group of objects.
        id: the source's own id, as text.
        attributes: everything else the source says (JSON values). ``keypoints``, COCO's flat list of (x, y, visible),
            are moved with the picture; ``caption`` is a sentence about it (COCO captions).
    """

    category: str
    category_id: int | None = None
    bbox: tuple[float, float, float, float] | None = None
    segmentation: list[list[float]] | None = None
    rle: Rle | None = None
    area: float | None = None
    iscrowd: bool = False
    id: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def shapes(self) -> list[Shape]:
        """How each polygon is drawn; closed and straight where the source does not say."""
        polygons = self.segmentation or []
        said = self.attributes.get("poly2d")
        if isinstance(said, list) and len(said) == len(polygons):
            return [
                {"types": str(each["types"]), "closed": bool(each["closed"])}
                if isinstance(each, dict) and {"types", "closed"} <= each.keys()
                else straight(polygon)
                for polygon, each in zip(polygons, said, strict=True)
            ]
        return [straight(polygon) for polygon in polygons]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one picture.

    Attributes:
        width, height: of the picture the coordinates refer to; ``None`` where the source does not say.
        annotations: the objects, in the source's order.
        attributes: of the whole picture, such as BDD100K's weather and time of day.
        raw: the original text (JSON, XML, lines); of a label file of many pictures, this picture's part. Never moved.
        problems: why single annotations, or parts of them, could not be read and were left out; one line each.
    """

    width: int | None = None
    height: int | None = None
    annotations: list[Annotation] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    raw: str = ""
    problems: tuple[str, ...] = ()

    @property
    def captions(self) -> list[str]:
        """The sentences about the picture, in the source's order."""
        found = (each.attributes.get("caption") for each in self.annotations)
        return [each for each in found if isinstance(each, str)]


def straight(polygon: list[float], closed: bool = True) -> Shape:
    """The shape of a polygon that has points only."""
    return {"types": "L" * (len(polygon) // 2), "closed": closed}
