"""Running statistics of one metric column, mergeable in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.metrics.bounds import within

# Student's t at 97.5 % for few degrees of freedom; from five on the expansion below is good to 0.2 %.
_T_FEW = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}


@dataclass
class Summary:
    """Count, mean and spread of the values seen so far (Chan, Golub and LeVeque 1983).

    Attributes:
        count: finite values.
        mean: of them.
        m2: sum of their squared distances from the mean.
        min, max: of them; infinite the wrong way round while there are none.
        nan_count: values that were nan or infinite, such as a distance to a target that is not there.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    nan_count: int = 0

    def add(self, values: Iterable[float]) -> None:
        """Take in more values."""
        every = [float(value) for value in values]
        finite = [value for value in every if math.isfinite(value)]
        if finite:
            mean = math.fsum(finite) / len(finite)
            m2 = math.fsum((value - mean) ** 2 for value in finite)
            self.merge(Summary(len(finite), mean, m2, min(finite), max(finite)))
        self.nan_count += len(every) - len(finite)

    def merge(self, other: Summary) -> None:
        """Take in what another summary has seen."""
        self.nan_count += other.nan_count
        if not other.count:
            return
        count = self.count + other.count
        delta = other.mean - self.mean
        self.m2 += other.m2 + delta * delta * self.count * other.count / count
        self.mean += delta * other.count / count
        self.count = count
        self.min, self.max = min(self.min, other.min), max(self.max, other.max)

    def as_dict(self, least: float = -math.inf, largest: float = math.inf) -> dict[str, Any]:
        """JSON-ready: with ``std`` (n - 1) and ``ci95``, the 95 % confidence interval of the mean (Student's t).

        What cannot be said of so few values is ``None``.

        Args:
            least, largest: what values there can be at all; the interval does not go beyond.
        """
        std = math.sqrt(self.m2 / (self.count - 1)) if self.count > 1 else None
        ci95 = None
        if std is not None:
            half = t975(self.count - 1) * std / math.sqrt(self.count)
            ci95 = list(within((self.mean - half, self.mean + half), self.mean, least, largest))
        return {
            "count": self.count,
            "nan_count": self.nan_count,
            "mean": self.mean if self.count else None,
            "std": std,
            "ci95": ci95,
            "min": self.min if self.count else None,
            "max": self.max if self.count else None,
        }


def t975(freedom: int) -> float:
    """Student's t at 97.5 %: the Cornish-Fisher expansion around the normal (Abramowitz and Stegun 26.7.5)."""
    if freedom in _T_FEW:
        return _T_FEW[freedom]
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))
