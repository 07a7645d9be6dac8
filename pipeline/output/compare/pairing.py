"""Samples that several outputs have in common, and what can be said of their metrics as pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.metrics.direction import Better, better
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import rows_with

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
        interval: 95 % of it, by bootstrap over samples (percentiles); ``None`` of one pair, which has no spread.
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
    """Rows of several indexes, of the samples that are ok in all of them, in one order.

    Attributes:
        tables: one per output, with equally many rows that belong together.
        alone: of each output, its ok samples that not all others have.
    """

    tables: tuple[pa.Table, ...]
    alone: tuple[int, ...]

    @property
    def count(self) -> int:
        """Samples in common."""
        return self.tables[0].num_rows


def common_rows(indexes: Sequence[pa.Table]) -> Common:
    """The ok rows that all indexes have, by key and variant; of a key that one has twice, the first."""
    good = [rows_with(index, "status", "ok") for index in indexes]
    places = [_places(table) for table in good]
    shared = sorted(set(places[0]).intersection(*places[1:]))
    chosen = [[place[name] for name in shared] for place in places]
    tables = tuple(table.take(pa.array(rows, pa.int64())) for table, rows in zip(good, chosen, strict=True))
    return Common(tables, tuple(len(place) - len(shared) for place in places))


def _places(table: pa.Table) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for at, name in enumerate(zip(table["key"].to_pylist(), table["variant"].to_pylist(), strict=True)):
        found.setdefault(name, at)
    return found


def paired_figures(first: pa.Table, second: pa.Table) -> list[PairedFigures]:
    """Every metric that both tables have, of rows that belong together; none for a metric without a single pair."""
    names = [name for name in first.column_names if name.startswith(METRIC) and name in second.column_names]
    found = []
    for name in names:
        values = [table[name].to_numpy().astype(np.float64) for table in (first, second)]
        known = np.isfinite(values[0]) & np.isfinite(values[1])
        if known.any():
            found.append(_figures(name.removeprefix(METRIC), values[0][known], values[1][known]))
    return found


def _figures(metric: str, first: np.ndarray, second: np.ndarray) -> PairedFigures:
    apart = second - first
    way = better(metric)
    up, down = int((apart > 0).sum()), int((apart < 0).sum())
    wins, losses = {"higher": (up, down), "lower": (down, up), None: (0, 0)}[way]
    return PairedFigures(
        metric=metric,
        pairs=len(apart),
        first=float(first.mean()),
        second=float(second.mean()),
        difference=float(apart.mean()),
        interval=mean_interval(apart) if len(apart) > 1 else None,
        better=way,
        wins=wins,
        losses=losses,
        ties=len(apart) - up - down,
    )


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean: percentiles of the means of 2,000 samples drawn anew, with a fixed seed."""
    if len(values) > LARGE:
        half = 1.959964 * float(values.std(ddof=1)) / np.sqrt(len(values))
        return float(values.mean() - half), float(values.mean() + half)
    rng = np.random.default_rng(seed)
    means: list[np.ndarray] = []
    left = RESAMPLES
    while left:
        now = min(left, max(1, _CHUNK // len(values)))
        means.append(values[rng.integers(0, len(values), (now, len(values)))].mean(1))
        left -= now
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
