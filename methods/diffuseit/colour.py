"""Colour statistics of one picture given to another: the Monge-Kantorovich solution of Pitie & Kokaram (2007)."""

from __future__ import annotations

import numpy as np


def match_colours(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """``picture`` with the mean and covariance of ``reference``'s colours, stretched to the full range.

    Args:
        picture: (H, W, 3) uint8. reference: (H', W', 3) uint8.

    Returns:
        (H, W, 3) uint8. Both are stretched to [0, 1] over the whole picture before, and the result after.
    """
    return np.round(255 * stretched(transfer(stretched(picture), stretched(reference)))).astype(np.uint8)


def stretched(picture: np.ndarray) -> np.ndarray:
    """float64 from 0 to 1 over the whole picture; a picture of one value becomes 0."""
    values = picture.astype(np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def transfer(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """y = A (x - mean) + reference mean with A = C^-1/2 (C^1/2 R C^1/2)^1/2 C^-1/2; float64, not clipped."""
    source, wanted = picture.reshape(-1, 3), reference.reshape(-1, 3)
    root, inverse = _roots(np.cov(source, rowvar=False))
    middle, _ = _roots(root @ np.cov(wanted, rowvar=False) @ root)
    matrix = inverse @ middle @ inverse
    return ((source - source.mean(0)) @ matrix.T + wanted.mean(0)).reshape(picture.shape)


def _roots(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric square root and its pseudo-inverse: a channel that never changes stays as it is."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = np.sqrt(values.clip(min=0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 1e-10)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
