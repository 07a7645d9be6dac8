"""Masks to polygons along the edges of their pixels, and back: the two are each other's inverse."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

Polygon = list[float]
_Point = tuple[int, int]
# Clockwise in a picture whose y goes down: right, down, left, up.
_TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: np.ndarray) -> list[Polygon]:
    """The edges of an (H, W) mask as closed loops [x0, y0, x1, y1, ...]; holes are loops of their own.

    Corners of pixels are the vertices, in pixels with (0, 0) the outer corner of the first one, so that filling the
    loops by the even-odd rule at pixel centres (:func:`fill`) gives exactly the mask.
    """
    padded = np.pad(mask != 0, 1)
    inside = padded[1:-1, 1:-1]
    following: dict[_Point, list[_Point]] = {}
    # Inside lies to the right of every edge. Per side: the neighbour beyond it, and the edge's two ends from (x, y).
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    for beyond, start, end in sides:
        for y, x in np.argwhere(inside & ~beyond).tolist():
            following.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    loops: list[Polygon] = []
    for first in sorted(following):
        while following.get(first):
            loops.append(_walk(first, following))
    return loops


def _walk(first: _Point, following: dict[_Point, list[_Point]]) -> Polygon:
    loop: list[_Point] = []
    at: _Point = first
    heading: _Point | None = None
    while True:
        ways = following[at]
        # Two pixels that touch at a corner stay apart: the way that turns right is the same pixel's next edge.
        best = ways[0] if heading is None or len(ways) == 1 else min(ways, key=partial(_turn, heading, at))
        ways.remove(best)
        going = (best[0] - at[0], best[1] - at[1])
        if going != heading:
            loop.append(at)
        at, heading = best, going
        if at == first:
            break
    start = (loop[1][0] - loop[0][0], loop[1][1] - loop[0][1])
    if heading is not None and (np.sign(start[0]), np.sign(start[1])) == heading:
        loop = loop[1:]
    return [float(value) for point in loop for value in point]


def _turn(heading: _Point, at: _Point, point: _Point) -> int:
    going = (point[0] - at[0], point[1] - at[1])
    return (_TURNS.index(heading) + 1 - _TURNS.index(going)) % 4


def join(loops: list[Polygon]) -> Polygon:
    """Several loops as one polygon, connected by bridges of no width, for formats that hold one polygon per object.

    Filled by the even-odd rule it covers what the loops cover. The bridges are short: each loop is tied at the vertex
    nearest to what is joined so far.
    """
    joined = _points(loops[0])
    for loop in loops[1:]:
        points = _points(loop)
        one, other = np.asarray(joined), np.asarray(points)
        # A row at a time, so that two long outlines do not make a table of all pairs.
        near = [int(np.argmin(((one - point) ** 2).sum(1))) for point in other]
        at = int(np.argmin([((one[to] - point) ** 2).sum() for to, point in zip(near, other, strict=True)]))
        to = near[at]
        joined = [*joined[: to + 1], *points[at:], *points[: at + 1], *joined[to:]]
    return [value for point in joined for value in point]


def _points(flat: Polygon) -> list[tuple[float, float]]:
    return list(zip(flat[0::2], flat[1::2], strict=True))


def fill(polygons: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels of a ``size`` = (width, height) picture whose centre lies in any of the polygons.

    Each polygon by the even-odd rule for itself; where they overlap stays covered.
    """
    width, height = size
    mask = np.zeros((height, width), bool)
    for polygon in polygons:
        mask |= _fill_one(polygon, width, height)
    return mask


def _fill_one(polygon: Polygon, width: int, height: int) -> np.ndarray:
    x, y = np.asarray(polygon[0::2]), np.asarray(polygon[1::2])
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    mask = np.zeros((height, width), bool)
    if len(x) < 3:
        return mask
    for row in range(max(0, math.floor(y.min() - 0.5)), min(height, math.ceil(y.max() + 0.5))):
        centre = row + 0.5
        crossed = (y <= centre) != (y_next <= centre)
        if not crossed.any():
            continue
        share = (centre - y[crossed]) / (y_next[crossed] - y[crossed])
        where = np.sort(x[crossed] + share * (x_next[crossed] - x[crossed]))
        # A pixel is inside from the first centre at or right of a crossing to the last one left of the next.
        edges = np.clip(np.ceil(where - 0.5), 0, width).astype(int)
        for left, right in zip(edges[0::2], edges[1::2], strict=True):
            mask[row, left:right] = True
    return mask
