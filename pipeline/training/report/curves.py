"""Curves over the steps of a training as inline SVG, in the style of the dataset report's plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from pipeline.output.report.plots import BOTTOM, LEFT, RIGHT, TOP, anchor, ticks
from pipeline.quantity import measured

_WIDTH, _HEIGHT = 380.0, 180.0
_POINTS = 240


def curve(points: Sequence[tuple[float, float]], title: str, marked: float | None = None) -> Markup:
    """Values by step as a line; more than 240 are shown as means of pieces. What is not finite is left out.

    Args:
        points: (step, value), in order.
        title: for those who do not see the drawing.
        marked: a step to draw a line at, such as that of the best value.
    """
    shown = _thinned([(x, y) for x, y in points if math.isfinite(y)])
    if not shown:
        return Markup('<p class="none">no values</p>')
    xs, ys = [x for x, _ in shown], [y for _, y in shown]
    x_low, x_high = _padded(min(xs), max(xs), 0.0)
    y_low, y_high = _padded(min(ys), max(ys), 0.05)

    def at_x(value: float) -> float:
        return LEFT + (value - x_low) / (x_high - x_low) * (_WIDTH - LEFT - RIGHT)

    def at_y(value: float) -> float:
        return _HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (_HEIGHT - TOP - BOTTOM)

    parts = [
        Markup('<svg class="plot" role="img" viewBox="0 0 {:g} {:g}" aria-label="{}">').format(_WIDTH, _HEIGHT, title)
    ]
    for tick in ticks(y_low, y_high, 4):
        parts.append(
            Markup(
                '<line class="grid" x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>'
                '<text class="tick" text-anchor="end" x="{3:.1f}" y="{4:.1f}">{5}</text>'
            ).format(LEFT, _WIDTH - RIGHT, at_y(tick), LEFT - 6, at_y(tick) + 4, f"{tick:.4g}")
        )
    base = _HEIGHT - BOTTOM
    parts.append(
        Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
            LEFT, _WIDTH - RIGHT, base, base
        )
    )
    for tick in ticks(x_low, x_high, 4):
        parts.append(
            Markup('<text class="tick" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                anchor(at_x(tick), _WIDTH - RIGHT),
                at_x(tick),
                base + 16,
                f"{tick:,.0f}" if tick == int(tick) else f"{tick:g}",
            )
        )
    if marked is not None:
        parts.append(
            Markup(
                '<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}">'
                "<title>step {3:g}</title></line>"
            ).format(at_x(marked), TOP, base, marked)
        )
    path = "M" + "L".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in shown)
    parts.append(Markup('<path class="line" d="{}"/>').format(path))
    if len(shown) <= 40:
        parts += [
            Markup('<circle class="bar" r="2.6" cx="{:.1f}" cy="{:.1f}"><title>step {:g}: {}</title></circle>').format(
                at_x(x), at_y(y), x, measured(y)
            )
            for x, y in shown
        ]
    return Markup("").join(parts) + Markup("</svg>")


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _POINTS:
        return points
    edges = [round(number * len(points) / _POINTS) for number in range(_POINTS + 1)]
    pieces = [points[a:b] for a, b in pairwise(edges)]
    return [(piece[-1][0], sum(y for _, y in piece) / len(piece)) for piece in pieces]


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    if high - low <= 1e-9 * max(1e-300, abs(low), abs(high)):
        pad = 0.5 * abs(low) or 0.5
        return low - pad, high + pad
    pad = share * (high - low)
    return low - pad, high + pad
