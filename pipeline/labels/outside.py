"""Annotations that lie wholly outside their picture: single errors, or labels made for pictures of another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.labels.records import Annotation, Labels

Size = tuple[int, int]
_USUAL: tuple[Size, ...] = (
    (1280, 720),
    (1920, 1080),
    (2048, 1024),
    (1920, 1208),
    (1600, 900),
    (1242, 375),
    (640, 480),
    (1024, 768),
    (2560, 1440),
    (3840, 2160),
)
"""Sizes that datasets come in: (width, height) in pixels."""


def extent(found: Annotation) -> tuple[float, float, float, float] | None:
    """(left, top, right, bottom) of an annotation in pixels; ``None`` for one without coordinates."""
    if found.bbox is not None:
        x, y, w, h = found.bbox
        return x, y, x + w, y + h
    xs = [x for polygon in found.segmentation or [] for x in polygon[0::2]]
    ys = [y for polygon in found.segmentation or [] for y in polygon[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def is_outside(found: Annotation, size: Size) -> bool:
    """Whether nothing of it lies within a picture of (width, height) ``size``."""
    sides = extent(found)
    if sides is None:
        return False
    left, top, right, bottom = sides
    beyond = left >= size[0] or top >= size[1]
    return beyond or (right <= 0 and left < 0) or (bottom <= 0 and top < 0)


def without_outside(labels: Labels, size: Size) -> Labels:
    """The labels without annotations that lie wholly outside; those go to ``problems``."""
    outside = [at for at, found in enumerate(labels.annotations) if is_outside(found, size)]
    if not outside:
        return labels
    reasons = []
    for at in outside:
        found = labels.annotations[at]
        left, top, right, bottom = extent(found) or (0, 0, 0, 0)
        name = f"annotation {at}" + (f" ({found.category})" if found.category else "")
        where = f"{left:g}, {top:g} to {right:g}, {bottom:g}"
        reasons.append(f"{name} lies outside the picture of {size[0]}x{size[1]}: {where}")
    kept = [found for at, found in enumerate(labels.annotations) if at not in outside]
    return replace(labels, annotations=kept, problems=(*labels.problems, *reasons))


@dataclass(frozen=True)
class SizeGuess:
    """What the first samples say of the size that labels were made for.

    Attributes:
        outside, annotations: how many of the annotations lie wholly outside their pictures.
        picture: (width, height) of the first picture with one outside.
        likely: the size that the labels probably belong to; ``None`` where nothing usual fits.
    """

    outside: int
    annotations: int
    picture: Size
    likely: Size | None


def guess_size(samples: Sequence[tuple[Labels, Size]]) -> SizeGuess | None:
    """Whether labels belong to pictures of another size; ``None`` when they seem to fit.

    They do not fit when at least a quarter of the annotations lie wholly outside: single errors are rarer, and of
    labels made for pictures twice as large about three quarters are.

    Args:
        samples: labels and the size of the picture they were matched with, as (width, height).
    """
    placed = [(extent(found), found, size) for labels, size in samples for found in labels.annotations]
    placed = [each for each in placed if each[0] is not None]
    outside = [each for each in placed if is_outside(each[1], each[2])]
    if not outside or 4 * len(outside) < len(placed):
        return None
    picture = outside[0][2]
    right = max(sides[2] for sides, _, size in placed if sides is not None and size == picture)
    bottom = max(sides[3] for sides, _, size in placed if sides is not None and size == picture)
    return SizeGuess(len(outside), len(placed), picture, _likely(picture, right, bottom))


def _likely(picture: Size, right: float, bottom: float) -> Size | None:
    """The smallest size that holds everything and has the picture's shape, of the usual ones and whole multiples."""
    width, height = picture
    multiples = [(width * factor, height * factor) for factor in (2, 3, 4, 5, 6, 8)]
    usual = [size for size in _USUAL if abs(size[0] * height - size[1] * width) <= max(size)]
    fitting = [size for size in (*usual, *multiples) if size[0] >= right and size[1] >= bottom]
    return min(fitting, default=None)
