"""Samples that several outputs have in common, and what can be said of their metrics as pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.metrics.bounds import bounds, within
from pipeline.metrics.direction import Better, better
from pipeline.metrics.summary import t975
from pipeline.sink.schema import METRIC

FEW = 10
"""Equal differences in fewer pairs do not show that there is no spread."""
SMALL = 50
RESAMPLES = 2000
LARGE = 20_000
"""From so many pairs on the interval is of the normal distribution, which a bootstrap of so many only repeats."""

_CHUNK = 4_000_000


@dataclass(frozen=True)
class PairedFigures:
    """One metric of an output against the first one, over the samples that both have a finite value of.

    Attributes:
        first, second: means.
        difference: mean of second minus first.
        interval: 95 % of it, as :func:`mean_interval` says.
        better: which way is better; ``None`` where that cannot be said, then nobody wins.
        wins, losses, ties: samples in which the second is better, worse or equal.
    """

    metric: str
    pairs: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    better: Better | None
    wins: int
    losses: int
    ties: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Common:
    """The samples that are ok in all of several outputs, in one order: that of the first output's rows.

    Attributes:
        rows: one array per output, equally long: places in its :class:`~pipeline.output.compare.rows.Slim` arrays.
        alone: of each output, its ok samples that not all others have.
    """

    rows: tuple[np.ndarray, ...]
    alone: tuple[int, ...]

    @property
    def count(self) -> int:
        """Samples in common."""
        return len(self.rows[0])


def common_rows(names: Sequence[np.ndarray]) -> Common:
    """Which samples all have, by (N,) names of each output's ok samples; of a name that one has twice, the first."""
    found = [np.unique(each, return_index=True) for each in names]
    shared = found[0][0]
    for own, _ in found[1:]:
        shared = shared[np.isin(shared, own, assume_unique=True)]
    rows = [first[np.searchsorted(own, shared)] for own, first in found]
    order = np.argsort(rows[0])
    return Common(tuple(each[order] for each in rows), tuple(len(own) - len(shared) for own, _ in found))


def paired_figures(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> list[PairedFigures]:
    """Every metric (columns of the index) that both have, of samples that belong together; none without a pair."""
    found = []
    for name in (name for name in first if name in second):
        known = np.isfinite(first[name]) & np.isfinite(second[name])
        if known.any():
            found.append(_figures(name.removeprefix(METRIC), first[name][known], second[name][known]))
    return found


def _figures(metric: str, first: np.ndarray, second: np.ndarray) -> PairedFigures:
    apart = second - first
    way = better(metric)
    # two values of a share are at most 1 apart
    lowest, highest = bounds(metric)
    mean, least = float(apart.mean()), lowest - highest
    up, down = int((apart > 0).sum()), int((apart < 0).sum())
    wins, losses = {"higher": (up, down), "lower": (down, up), None: (0, 0)}[way]
    return PairedFigures(
        metric=metric,
        pairs=len(apart),
        first=float(first.mean()),
        second=float(second.mean()),
        difference=mean,
        interval=None if (interval := mean_interval(apart)) is None else within(interval, mean, least, -least),
        better=way,
        wins=wins,
        losses=losses,
        ties=len(apart) - up - down,
    )


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of a mean; ``None`` where so few values say nothing of their spread.

    Below 50 values it is Student's: samples drawn anew from few values vary too little, and would cover the mean of two
    in half of all cases. Then it is the bootstrap's, percentiles of the means of 2,000 samples drawn anew with a fixed
    seed, and from 20,000 on that of the normal distribution.
    """
    count = len(values)
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) / np.sqrt(count) if count > 1 else 0.0
    if count < FEW and spread == 0 and (count < 2 or mean != 0):
        return None
    if count < SMALL:
        half = t975(count - 1) * spread
        return float(mean - half), float(mean + half)
    if count > LARGE:
        half = 1.959964 * spread
        return float(mean - half), float(mean + half)
    rng = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    left = RESAMPLES
    while left:
        now = min(left, max(1, _CHUNK // count))
        means.append(values[rng.integers(0, count, (now, count))].mean(1))
        left -= now
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
