"""Plots as inline SVG. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from methods.counting import counted
from pipeline.output.report.speed import ShardSpan
from pipeline.quantity import count, duration, measured

LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 26.0
_HALF_LABEL = 20.0
_DURATIONS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


@dataclass(frozen=True)
class _Frame:
    """Data coordinates to a drawing of ``width`` x ``height`` with room for the axes."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = LEFT

    def at_x(self, value: float) -> float:
        low, high = self.x
        return self.left + (value - low) / (high - low) * (self.width - self.left - RIGHT)

    def at_y(self, value: float) -> float:
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def drawing(self, title: str, *parts: Markup) -> Markup:
        opening = Markup('<svg class="plot" role="img" viewBox="0 0 {:g} {:g}" aria-label="{}">').format(
            self.width, self.height, title
        )
        return opening + Markup("").join(parts) + Markup("</svg>")

    def x_axis(self, ticks: Sequence[tuple[float, str]]) -> Markup:
        base = self.height - BOTTOM
        line = Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
            self.left, self.width - RIGHT, base, base
        )
        marks = (
            Markup('<text class="tick" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                anchor(self.at_x(value), self.width - RIGHT), self.at_x(value), base + 16, text
            )
            for value, text in ticks
        )
        return line + Markup("").join(marks)

    def y_axis(self, ticks: Sequence[tuple[float, str]]) -> Markup:
        return Markup("").join(
            Markup(
                '<line class="grid" x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>'
                '<text class="tick" text-anchor="end" x="{3:.1f}" y="{4:.1f}">{5}</text>'
            ).format(self.left, self.width - RIGHT, self.at_y(value), self.left - 6, self.at_y(value) + 4, text)
            for value, text in ticks
        )


def anchor(x: float, right: float) -> str:
    """How a label below the axis is aligned at ``x``: one close to the axis' right end must not be cut off there."""
    return "end" if right - x < _HALF_LABEL else "middle"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], roughly ``about`` of them, at a step of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not (math.isfinite(span) and span > 1e-300):
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    if step == 0 or step < abs(low) * 1e-12:
        return [low]
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def histogram(values: np.ndarray, title: str) -> Markup:
    """How often each value occurs, with the mean as a line. Values that are not finite are left out."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Markup('<p class="none">no values</p>')
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(1e-300, abs(low), abs(high)):
        pad = 0.5 * abs(low) or 0.5
        low, high = low - pad, high + pad
    bins = min(40, max(8, round(2 * len(values) ** 0.5)))
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    frame = _Frame(380, 180, (low, high), (0, float(counts.max())))
    bars = (
        Markup(
            '<rect class="bar" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{} to {}: {}</title></rect>'
        ).format(
            frame.at_x(edges[n]) + 0.5,
            frame.at_y(number),
            max(0.5, frame.at_x(edges[n + 1]) - frame.at_x(edges[n]) - 1),
            frame.at_y(0) - frame.at_y(number),
            measured(float(edges[n])),
            measured(float(edges[n + 1])),
            count(int(number)),
        )
        for n, number in enumerate(counts)
        if number
    )
    mean = float(values.mean())
    line = Markup(
        '<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"><title>mean {3}</title></line>'
    ).format(frame.at_x(mean), TOP, frame.at_y(0), measured(mean))
    heights = [tick for tick in ticks(0, float(counts.max()), 4) if tick == int(tick)]
    return frame.drawing(
        f"histogram of {title}",
        frame.y_axis([(tick, count(tick)) for tick in heights]),
        Markup("").join(bars),
        frame.x_axis([(tick, _plain(tick)) for tick in ticks(low, high, 5)]),
        line,
    )


def rate(seconds: float, rates: np.ndarray, mean: float, title: str) -> Markup:
    """Images per second over ``seconds`` of a run, one value per equal slice; the run's mean as a dashed line."""
    top = max(float(rates.max(initial=0)), mean, 1e-9)
    frame = _Frame(900, 200, (0, max(seconds, 1e-9)), (0, top * 1.05))
    edges = np.linspace(0, max(seconds, 1e-9), len(rates) + 1)
    steps = [f"M{frame.at_x(0):.1f},{frame.at_y(0):.1f}"]
    for n, value in enumerate(rates):
        y = frame.at_y(float(value))
        steps.append(f"L{frame.at_x(edges[n]):.1f},{y:.1f}L{frame.at_x(edges[n + 1]):.1f},{y:.1f}")
    steps.append(f"L{frame.at_x(edges[-1]):.1f},{frame.at_y(0):.1f}Z")
    area = Markup('<path class="area" d="{}"/>').format("".join(steps))
    line = Markup(
        '<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"><title>mean {} images/s</title></line>'
    ).format(frame.left, frame.width - RIGHT, frame.at_y(mean), frame.at_y(mean), measured(mean))
    return frame.drawing(
        title,
        frame.y_axis([(tick, _plain(tick)) for tick in ticks(0, top, 4)]),
        area,
        frame.x_axis([(tick, _clock(tick)) for tick in _time_ticks(seconds)]),
        line,
    )


def spans(rows: Sequence[tuple[str, np.ndarray]], title: str) -> Markup:
    """Seconds by name: a line from the least to the most, a bar for the middle half, a mark for the median."""
    high = max((float(values.max()) for _, values in rows), default=0) or 1e-9
    height, left = 26.0, 200.0
    frame = _Frame(900, TOP + BOTTOM + height * len(rows), (0, high * 1.03), (0, 1), left)
    parts = []
    for number, (name, values) in enumerate(rows):
        low, lower, middle, upper, most = (frame.at_x(v) for v in np.percentile(values, (0, 25, 50, 75, 100)))
        y = TOP + height * (number + 0.5)
        parts.append(
            Markup(
                "<g><title>{name}: {n}, median {median}, from {least} to {most_text}</title>"
                '<text class="tick" text-anchor="end" x="{label:.1f}" y="{text:.1f}">{short}</text>'
                '<line class="whisker" x1="{low:.1f}" x2="{most:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                '<rect class="bar" x="{lower:.1f}" y="{top:.1f}" width="{width:.1f}" height="12" rx="2"/>'
                '<line class="median" x1="{mid:.1f}" x2="{mid:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/></g>'
            ).format(
                name=name,
                short=_short_host(name),
                n=counted(len(values), "shard"),
                median=duration(float(np.median(values))),
                least=duration(float(values.min())),
                most_text=duration(float(values.max())),
                label=left - 8,
                text=y + 4,
                low=low,
                most=max(most, low + 1),
                y=y,
                lower=lower,
                top=y - 6,
                bottom=y + 6,
                width=max(2.0, upper - lower),
                mid=middle,
            )
        )
    marks = [(tick, _clock(tick)) for tick in _time_ticks(high)]
    return frame.drawing(title, Markup("").join(parts), frame.x_axis(marks))


def timeline(spans: Sequence[ShardSpan], title: str, most: int = 800) -> Markup:
    """What each worker did when: a bar per shard, from its start until it was translated, then until it was committed.

    A worker has two shards in hand at a time; overlapping ones are drawn in lanes. Of very many shards an even choice
    is drawn.
    """
    if len(spans) > most:
        spans = [spans[round(at)] for at in np.linspace(0, len(spans) - 1, most)]
    end = max((span.committed for span in spans), default=0) or 1e-9
    lanes = _lanes(spans)
    count_of: dict[str, int] = {}
    for span, number in zip(spans, lanes, strict=True):
        count_of[span.worker] = max(count_of.get(span.worker, 1), number + 1)
    lane, gap, left = 13.0, 7.0, 200.0
    top: dict[str, float] = {}
    y = TOP
    for worker in count_of:
        top[worker] = y
        y += lane * count_of[worker] + gap
    frame = _Frame(900, y + BOTTOM, (0, end), (0, 1), left)
    parts = [
        Markup('<text class="tick" text-anchor="end" x="{:.1f}" y="{:.1f}">{}</text>').format(
            left - 8, top[worker] + lane * count_of[worker] / 2 + 4, _short_host(worker)
        )
        for worker in count_of
    ]
    for span, number in zip(spans, lanes, strict=True):
        row = top[span.worker] + lane * number
        begin, middle, finish = (frame.at_x(at) for at in (span.started, span.translated, span.committed))
        parts.append(
            Markup(
                "<g><title>{shard}: {images}, {took}; written in {wrote}</title>"
                '<rect class="bar" x="{begin:.2f}" y="{row:.1f}" width="{work:.2f}" height="{height:g}"/>'
                '<rect class="tail" x="{middle:.2f}" y="{row:.1f}" width="{write:.2f}" height="{height:g}"/></g>'
            ).format(
                shard=span.shard,
                images=counted(span.images, "image"),
                took=duration(span.committed - span.started),
                wrote=duration(span.committed - span.translated),
                begin=begin,
                middle=middle,
                row=row,
                work=max(0.6, middle - begin - 0.5),
                write=max(0.4, finish - middle - 0.5),
                height=lane - 2,
            )
        )
    marks = [(tick, _clock(tick)) for tick in _time_ticks(end)]
    return frame.drawing(title, Markup("").join(parts), frame.x_axis(marks))


def _lanes(spans: Sequence[ShardSpan]) -> list[int]:
    """A lane for each span such that spans of one worker do not overlap in a lane; spans come by worker and time."""
    free: dict[str, list[float]] = {}
    chosen = []
    for span in spans:
        ends = free.setdefault(span.worker, [])
        lane = next((n for n, end in enumerate(ends) if end <= span.started), len(ends))
        ends[lane : lane + 1] = [span.committed]
        chosen.append(lane)
    return chosen


def _short_host(worker: str, longest: int = 28) -> str:
    """``host:pid`` without the host's domain where that is too long to stand beside a plot."""
    if len(worker) > longest:
        host, colon, pid = worker.rpartition(":")
        worker = f"{host.split('.')[0]}{colon}{pid}"
    return worker if len(worker) <= longest else f"…{worker[1 - longest :]}"


def _plain(value: float) -> str:
    """A tick's number without the noise of binary fractions."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 172_800 else f"{seconds / 86_400:.3g} d"


def _time_ticks(seconds: float, about: int = 6) -> list[float]:
    raw = seconds / about
    if raw < 1 or raw > _DURATIONS[-1]:
        return ticks(0, seconds, about)
    step = next(each for each in _DURATIONS if each >= raw)
    return [n * step for n in range(int(seconds // step) + 1)]
