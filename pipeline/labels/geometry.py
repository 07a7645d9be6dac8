"""Moving labels along with their picture: resize, crop, and the turns and flips of EXIF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from methods.errors import BadSample
from pipeline.labels import clip, rle
from pipeline.labels.records import Annotation, Labels, Rle, Shape, straight

Size = tuple[int, int]
Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Transform:
    """Where a picture's points go: x' = a x + b y + c, y' = d x + e y + f, without any slant.

    Attributes:
        source, target: (width, height) of the picture before and after.
        matrix: (a, b, c, d, e, f); either b = d = 0 or a = e = 0.
        clips: whether labels are cut off at the edges of the target, as a crop does and a resize does not.
    """

    source: Size
    target: Size
    matrix: Matrix = _IDENTITY
    clips: bool = False

    @classmethod
    def resize(cls, source: Size, target: Size) -> Transform:
        """The whole picture, stretched from one (width, height) to another."""
        return cls(source, target, (target[0] / source[0], 0.0, 0.0, 0.0, target[1] / source[1], 0.0))

    @classmethod
    def crop(cls, source: Size, window: tuple[int, int, int, int]) -> Transform:
        """The part from (left, top) to (right, bottom), which must lie within the picture."""
        left, top, right, bottom = window
        if not (0 <= left < right <= source[0] and 0 <= top < bottom <= source[1]):
            raise ValueError(f"crop window {window} does not lie within {source[0]}x{source[1]}")
        matrix = (1.0, 0.0, -float(left), 0.0, 1.0, -float(top))
        return cls(source, (right - left, bottom - top), matrix, clips=True)

    @classmethod
    def orientation(cls, orientation: int, source: Size) -> Transform:
        """From the stored picture of (width, height) ``source`` to the upright one, EXIF orientation 1 to 8."""
        w, h = float(source[0]), float(source[1])
        matrices: dict[int, Matrix] = {
            1: _IDENTITY,
            2: (-1.0, 0.0, w, 0.0, 1.0, 0.0),
            3: (-1.0, 0.0, w, 0.0, -1.0, h),
            4: (1.0, 0.0, 0.0, 0.0, -1.0, h),
            5: (0.0, 1.0, 0.0, 1.0, 0.0, 0.0),
            6: (0.0, -1.0, h, 1.0, 0.0, 0.0),
            7: (0.0, -1.0, h, -1.0, 0.0, w),
            8: (0.0, 1.0, 0.0, -1.0, 0.0, w),
        }
        return cls(source, (source[1], source[0]) if orientation >= 5 else source, matrices[orientation])

    def then(self, after: Transform) -> Transform:
        """First this, then ``after``."""
        if self.target != after.source:
            raise ValueError(f"a transform from {after.source} cannot follow one to {self.target}")
        a, b, c, d, e, f = self.matrix
        p, q, r, s, t, u = after.matrix
        matrix = (p * a + q * d, p * b + q * e, p * c + q * f + r, s * a + t * d, s * b + t * e, s * c + t * f + u)
        return Transform(self.source, after.target, matrix, self.clips or after.clips)

    def apply(self, labels: Labels) -> Labels:
        """The labels of the moved picture. ``raw`` stays as it is, and so does every number under the identity.

        Raises:
            BadSample: reason ``bad_labels`` when a mask has not the picture's size.
        """
        width, height = self.target
        if self.matrix == _IDENTITY and not self.clips:
            return replace(labels, width=width, height=height)
        moved = [self._move(annotation) for annotation in labels.annotations]
        if self.clips:
            moved = [kept for annotation in moved if (kept := self._clip(annotation)) is not None]
        return replace(labels, width=width, height=height, annotations=moved)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """An (H, W) label map or mask moved likewise: the nearest pixel of the old one."""
        a, b, c, d, e, f = self.matrix
        columns, rows = np.arange(self.target[0]) + 0.5, np.arange(self.target[1]) + 0.5
        if b == d == 0:
            y, x = _pixel((rows - f) / e), _pixel((columns - c) / a)
            return mask[np.ix_(y, x)]
        y, x = _pixel((columns - c) / b), _pixel((rows - f) / d)
        return mask[np.ix_(y, x)].T

    def _points(self, flat: list[float]) -> list[float]:
        a, b, c, d, e, f = self.matrix
        out: list[float] = []
        for x, y in zip(flat[0::2], flat[1::2], strict=True):
            out += (a * x + b * y + c, d * x + e * y + f)
        return out

    def _box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        x, y, w, h = box
        a, b, _, d, e, _ = self.matrix
        x0, y0, x1, y1 = self._points([x, y, x + w, y + h])
        # The sides are scaled by themselves: right minus left would lose digits far from the origin.
        return min(x0, x1), min(y0, y1), abs(a) * w + abs(b) * h, abs(d) * w + abs(e) * h

    def _rle(self, found: Rle) -> Rle:
        if found["size"] != [self.source[1], self.source[0]]:
            had, has = "x".join(map(str, found["size"][::-1])), "x".join(map(str, self.source))
            raise BadSample("bad_labels", f"labels: a mask of {had} pixels in a picture of {has}")
        return rle.encode(self.mask(rle.decode(found)))

    def _move(self, found: Annotation) -> Annotation:
        a, b, _, d, e, _ = self.matrix
        attributes = found.attributes
        if _are_keypoints(attributes.get("keypoints")):
            attributes = {**attributes, "keypoints": self._keypoints(attributes["keypoints"])}
        return replace(
            found,
            bbox=None if found.bbox is None else self._box(found.bbox),
            segmentation=None if found.segmentation is None else [self._points(each) for each in found.segmentation],
            rle=None if found.rle is None else self._rle(found.rle),
            area=None if found.area is None else found.area * abs(a * e - b * d),
            attributes=attributes,
        )

    def _keypoints(self, flat: list[Any]) -> list[Any]:
        out: list[Any] = []
        for at in range(0, len(flat), 3):
            # Visibility 0 means "not labelled", and then COCO has (0, 0) there.
            out += [*(self._points(flat[at : at + 2]) if flat[at + 2] else flat[at : at + 2]), flat[at + 2]]
        return out

    def _clip(self, found: Annotation) -> Annotation | None:
        """The annotation cut to the target, or ``None`` when nothing of the object is in the picture."""
        width, height = self.target
        area, changed = found.area, {}
        attributes = _within(found.attributes, width, height)
        if attributes != found.attributes:
            changed["attributes"] = attributes
            alone = found.bbox is None and found.rle is None and found.segmentation is None
            if alone and not any(attributes["keypoints"][2::3]):
                return None
        if found.bbox is not None:
            box = clip.clip_box(found.bbox, width, height)
            if box is None:
                return None
            if area is not None and box != found.bbox:
                area *= box[2] * box[3] / (found.bbox[2] * found.bbox[3])
            changed["bbox"] = box
        if found.rle is not None:
            pixels = int(rle.decode(found.rle).sum())
            if not pixels:
                return None
            area = float(pixels) if found.area is not None else None
        if found.segmentation is not None:
            kept = [
                piece
                for polygon, shape in zip(found.segmentation, found.shapes(), strict=True)
                for piece in _clip_shape(polygon, shape, width, height)
            ]
            if not kept:
                return None
            changed["segmentation"] = [polygon for polygon, _ in kept]
            if "poly2d" in found.attributes:
                changed["attributes"] = {**attributes, "poly2d": [shape for _, shape in kept]}
            if found.area is not None and changed["segmentation"] != found.segmentation:
                area = sum(abs(clip.polygon_area(polygon)) for polygon, shape in kept if shape["closed"])
            elif found.area is not None:
                area = found.area
        return replace(found, area=area, **changed)


def align(labels: Labels, orientation: int, raw_size: Size) -> Labels:
    """Labels in the coordinates of the upright picture, whatever they were made on.

    Labels that do not say their picture's size, or say the upright one, are taken as they are. The size of the stored
    picture (EXIF orientation not applied) turns them along; another size of the same shape scales them.

    Args:
        labels: as read.
        orientation, raw_size: as :func:`pipeline.codec.decode` found them.

    Raises:
        BadSample: reason ``bad_labels`` when the sizes cannot belong together.
    """
    turn = Transform.orientation(orientation, raw_size)
    upright = turn.target
    if labels.width is None or labels.height is None or (labels.width, labels.height) == upright:
        return Transform(upright, upright).apply(labels)
    said = labels.width, labels.height
    if said == raw_size:
        return turn.apply(labels)
    for final, size in ((Transform(upright, upright), upright), (turn, raw_size)):
        # Sizes are whole pixels: a side may be off by one after a resize that kept the shape.
        if abs(said[0] * size[1] / said[1] - size[0]) < 1 or abs(said[1] * size[0] / said[0] - size[1]) < 1:
            return Transform.resize(said, size).then(final).apply(labels)
    raise BadSample(
        "bad_labels", f"labels: made for {said[0]}x{said[1]}, but the picture has {upright[0]}x{upright[1]} pixels"
    )


def _are_keypoints(value: Any) -> bool:
    """COCO's flat list of (x, y, visibility)."""
    return isinstance(value, list) and len(value) % 3 == 0 and all(isinstance(each, int | float) for each in value)


def _within(attributes: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """The attributes with keypoints outside a picture made unlabelled ones, as COCO has no others there."""
    flat = attributes.get("keypoints")
    if flat is None or not _are_keypoints(flat):
        return attributes
    kept: list[Any] = []
    for x, y, visible in zip(flat[0::3], flat[1::3], flat[2::3], strict=True):
        kept += [x, y, visible] if not visible or (0 <= x <= width and 0 <= y <= height) else [0, 0, 0]
    if kept == flat:
        return attributes
    changed = {**attributes, "keypoints": kept}
    if "num_keypoints" in changed:
        changed["num_keypoints"] = sum(each > 0 for each in kept[2::3])
    return changed


def _pixel(position: np.ndarray) -> np.ndarray:
    # The nudge makes (i + 0.5) * scale, off by rounding, fall where exact arithmetic would put it.
    return np.floor(position + 1e-9).astype(np.int64)


def _clip_shape(polygon: list[float], shape: Shape, width: int, height: int) -> list[tuple[list[float], Shape]]:
    if clip.inside(polygon, width, height):
        return [(polygon, shape)]
    line = clip.flatten(polygon, shape["types"])
    if shape["closed"]:
        cut = clip.clip_polygon(line, width, height)
        pieces = [] if cut is None else [cut]
    else:
        pieces = clip.clip_line(line, width, height)
    return [(piece, straight(piece, shape["closed"])) for piece in pieces]
