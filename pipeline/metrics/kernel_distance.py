"""The squared maximum mean discrepancy of two sets of features, unbiased, and its bootstrap error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(n, D) and (m, D) float64 -> (n, m)."""

_ROWS = 1000
_FEWEST = 6
"""Rows of a side below which bootstrap samples that hold one row alone, and so no pair, are no exception."""


def polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel (x.y / D + 1)^3 (Binkowski et al. 2018)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CMMD's kernel exp(-|x - y|^2 / (2 10^2)) (Jayasumana et al. 2024)."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None, :] - 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / 200)


def mmd(x: np.ndarray, y: np.ndarray, kernel: Kernel, resamples: int) -> tuple[float, float]:
    """The unbiased estimate on all rows of (n, D) and (m, D), and its standard error over seeded bootstrap samples.

    A bootstrap sample counts how often each row is drawn; a row does not meet itself, as in the estimate. Memory is
    that of 1000 rows of kernel values, whatever n and m. The error is nan without resamples, and of fewer than six
    rows per side.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    random = np.random.default_rng(0)
    if min(len(x), len(y)) < _FEWEST:
        resamples = 0
    # the first row of weights is the estimate itself
    of_x = np.vstack([np.ones(len(x)), random.multinomial(len(x), np.full(len(x), 1 / len(x)), resamples)])
    of_y = np.vstack([np.ones(len(y)), random.multinomial(len(y), np.full(len(y), 1 / len(y)), resamples)])
    within = [_quadratic(each, each, weights, weights, kernel, True) for each, weights in ((x, of_x), (y, of_y))]
    pairs = [np.square(weights.sum(1)) - np.square(weights).sum(1) for weights in (of_x, of_y)]
    between = _quadratic(x, y, of_x, of_y, kernel, False) / (of_x.sum(1) * of_y.sum(1))
    some = (pairs[0] > 0) & (pairs[1] > 0)
    found = within[0][some] / pairs[0][some] + within[1][some] / pairs[1][some] - 2 * between[some]
    return float(found[0]), float(np.std(found[1:], ddof=1)) if resamples > 1 else float("nan")


def _quadratic(
    x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, kernel: Kernel, same: bool
) -> np.ndarray:
    """(R,) sums of kernel values weighted on both sides, a row with itself left out if the sets are the ``same``."""
    total = np.zeros(len(of_x))
    for start in range(0, len(x), _ROWS):
        values = kernel(x[start : start + _ROWS], y)
        if same:
            rows = np.arange(len(values))
            values[rows, start + rows] = 0
        total += ((of_x[:, start : start + _ROWS] @ values) * of_y).sum(1)
    return total
