"""Annotations in the simpler terms of most formats: one clipped box, one polygon, one mask per object."""

from __future__ import annotations

import numpy as np

from pipeline.labels import clip, rle
from pipeline.labels.export import closed_polygons, coco_box
from pipeline.labels.outline import fill, join, outlines
from pipeline.labels.records import Annotation

Box = tuple[float, float, float, float]


def has_shape(found: Annotation) -> bool:
    """Whether the object has an area of its own: a mask or closed polygons."""
    return found.rle is not None or bool(closed_polygons(found))


def box_within(found: Annotation, width: int, height: int) -> Box | None:
    """(x, y, width, height) inside the picture; ``None`` without a box or area, or with none of it in the picture."""
    box = coco_box(found)
    return None if box is None else clip.clip_box((box[0], box[1], box[2], box[3]), width, height)


def mask_of(found: Annotation, width: int, height: int) -> np.ndarray | None:
    """(H, W) bool, or ``None`` for an object without a mask of the picture's size or polygons."""
    if found.rle is not None:
        return rle.decode(found.rle).astype(bool) if found.rle["size"] == [height, width] else None
    polygons = closed_polygons(found)
    return fill(polygons, (width, height)) if polygons else None


def one_polygon(found: Annotation, width: int, height: int) -> list[float] | None:
    """The object's area as a single polygon inside the picture; ``None`` where it has no area there.

    Several parts, and holes, are joined by bridges of no width; a polygon that is whole and inside stays as it is.
    """
    if found.rle is None:
        polygons = closed_polygons(found)
        inside = [
            kept
            for each in polygons
            if (kept := each if clip.inside(each, width, height) else clip.clip_polygon(each, width, height))
        ]
        if len(inside) == 1:
            return inside[0]
        if not inside:
            return None
        joined = join(inside)
        # Parts that overlap would cancel each other out in one polygon.
        if np.array_equal(fill([joined], (width, height)), fill(inside, (width, height))):
            return joined
    mask = mask_of(found, width, height)
    loops = outlines(mask) if mask is not None else []
    return join(loops) if loops else None
