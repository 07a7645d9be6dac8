"""Cutting boxes, polygons and lines off at the edges of a picture."""

from __future__ import annotations

from itertools import pairwise

Box = tuple[float, float, float, float]
_CURVE_STEPS = 8


def clip_box(box: Box, width: float, height: float) -> Box | None:
    """(x, y, width, height) cut to the picture; ``None`` when nothing of it is left."""
    x, y, w, h = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if (left, top, right, bottom) == (x, y, x + w, y + h):
        return box if w > 0 and h > 0 else None
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def inside(polygon: list[float], width: float, height: float) -> bool:
    """Whether every vertex (and control point) lies within the picture."""
    return all(0 <= x <= width for x in polygon[0::2]) and all(0 <= y <= height for y in polygon[1::2])


def clip_polygon(polygon: list[float], width: float, height: float) -> list[float] | None:
    """A closed polygon cut to the picture (Sutherland and Hodgman 1974); ``None`` when no area is left.

    A concave polygon that the edge cuts in two stays one polygon, joined along the edge.
    """
    points = list(zip(polygon[0::2], polygon[1::2], strict=True))
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        kept: list[tuple[float, float]] = []
        for at, point in enumerate(points):
            before = points[at - 1]
            here, there = sign * (point[axis] - limit) >= 0, sign * (before[axis] - limit) >= 0
            if here != there:
                kept.append(_cross(before, point, axis, limit))
            if here:
                kept.append(point)
        points = kept
    flat = [value for point in points for value in point]
    return flat if abs(polygon_area(flat)) > 0 else None


def clip_line(line: list[float], width: float, height: float) -> list[list[float]]:
    """An open line cut to the picture, as the pieces that are left (Liang and Barsky 1984, a segment at a time)."""
    pieces: list[list[float]] = []
    points = list(zip(line[0::2], line[1::2], strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        enter, leave = 0.0, 1.0
        for start, step, limit in ((x0, x1 - x0, width), (y0, y1 - y0, height)):
            if step == 0:
                if not 0 <= start <= limit:
                    leave = -1.0
                continue
            first, second = sorted(((0.0 - start) / step, (limit - start) / step))
            enter, leave = max(enter, first), min(leave, second)
        if enter >= leave:
            continue
        head = (x0, y0) if enter == 0 else (x0 + enter * (x1 - x0), y0 + enter * (y1 - y0))
        tail = (x1, y1) if leave == 1 else (x0 + leave * (x1 - x0), y0 + leave * (y1 - y0))
        if pieces and tuple(pieces[-1][-2:]) == head:
            pieces[-1] += tail
        else:
            pieces.append([*head, *tail])
    return pieces


def flatten(vertices: list[float], types: str) -> list[float]:
    """BDD100K vertices to straight pieces: three ``C`` after a point are a cubic Bezier's two controls and its end."""
    points = list(zip(vertices[0::2], vertices[1::2], strict=True))
    out = points[:1]
    at = 1
    while at < len(points):
        if types[at : at + 3] != "CCC":
            out.append(points[at])
            at += 1
            continue
        corners = (points[at - 1], *points[at : at + 3])
        for step in range(1, _CURVE_STEPS + 1):
            t = step / _CURVE_STEPS
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x, y = (sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True)) for axis in (0, 1))
            out.append((x, y))
        at += 3
    return [value for point in out for value in point]


def polygon_area(polygon: list[float]) -> float:
    """Signed area of a closed polygon (shoelace formula), in square pixels."""
    xs, ys = polygon[0::2], polygon[1::2]
    return sum(xs[at - 1] * ys[at] - xs[at] * ys[at - 1] for at in range(len(xs))) / 2


def _cross(a: tuple[float, float], b: tuple[float, float], axis: int, limit: float) -> tuple[float, float]:
    """Where the segment from a to b meets the line ``axis`` = ``limit``."""
    share = (limit - a[axis]) / (b[axis] - a[axis])
    other = a[1 - axis] + share * (b[1 - axis] - a[1 - axis])
    return (limit, other) if axis == 0 else (other, limit)
