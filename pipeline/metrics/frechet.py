"""The Fréchet distance of two sets of features, and its bootstrap error."""

from __future__ import annotations

import numpy as np


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians with the means and covariances (n - 1) of (n, D) and (m, D) features.

    The trace of the root of the product of the covariances is the sum of the singular values of one centred set times
    the other's transpose: with fewer rows than features exact where a matrix root loses half its digits.
    """
    return _frechet(_centred(x.astype(np.float64)), _centred(y.astype(np.float64)))


def frechet_error(x: np.ndarray, y: np.ndarray, resamples: int) -> float:
    """Standard deviation of the distance over seeded bootstrap samples of both sets."""
    random = np.random.default_rng(0)
    x, y = x.astype(np.float64), y.astype(np.float64)
    found = [
        _frechet(_centred(x[random.integers(0, len(x), len(x))]), _centred(y[random.integers(0, len(y), len(y))]))
        for _ in range(resamples)
    ]
    return float(np.std(found, ddof=1))


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and rows whose Gram matrix over D is the covariance."""
    mean = x.mean(0)
    rows = (x - mean) / np.sqrt(len(x) - 1)
    if len(rows) <= rows.shape[1]:
        return mean, rows
    # as many rows as features say the same
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return mean, np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _frechet(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    (mean, x), (other_mean, y) = one, other
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    value = np.square(mean - other_mean).sum() + np.square(x).sum() + np.square(y).sum() - 2 * shared
    return max(float(value), 0.0)
