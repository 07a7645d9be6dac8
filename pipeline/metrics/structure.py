"""How far the layout of a picture moved, whatever happened to its light: without weights.

The idea is that of the self-similarity of deep features (Tumanyan et al. 2022, "Splicing ViT Features"), here over
histograms of oriented gradients (Dalal and Triggs 2005). What the picture looks like inside one cell may change from
day to night; which cells look alike does not, as long as things stay where they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from methods.nn.resample import resample
from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.encoded import EncodedPictures

if TYPE_CHECKING:
    import torch

_CELLS, _CELL, _BINS = 16, 8, 8
# Gradients per pixel (of luminance in [0, 1]) below which a cell counts as flat rather than as faint structure.
_FAINT = 0.005
# Keeps the direction of nearly empty histograms, which is noise, out of the similarities.
_SOFT = 0.1


class Structure:
    """``structure``: 0 for an unchanged layout, at most 1.

    On 24 rendered street scenes of 192 x 128: the same scene by night or in rain 0.012 to 0.023, another scene 0.026 to
    0.05, the picture mirrored 0.037, an empty picture 0.13. Swapping light and dark costs nothing; blur does (0.024 at
    a quarter of the resolution).
    """

    name: ClassVar[str] = "structure"
    columns: ClassVar[tuple[str, ...]] = ("structure",)
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy
        self._similarities = EncodedPictures(lambda pictures: [self_similarity(each) for each in pictures])

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample."""
        outputs, sources = (self._similarities.of(pictures, role) for role in ("output", "source"))
        pairs = zip(outputs, sources, strict=True)
        return Measured({"structure": [_distance(a, b) for a, b in pairs if a is not None and b is not None]})

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def structure_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared difference of the self-similarity matrices of two (H, W, 3) uint8 pictures."""
    return _distance(self_similarity(a), self_similarity(b))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.square(a - b).mean())


def self_similarity(pixels: np.ndarray) -> np.ndarray:
    """(256, 256) similarities in [0, 1] of the 16 x 16 cells of an (H, W, 3) uint8 picture."""
    side = _CELLS * _CELL
    rgb = resample(pixels, (side, side), "bicubic").astype(np.float32)
    light = np.pad((rgb @ np.array([0.299, 0.587, 0.114], np.float32)) / 255, 1, mode="edge")
    dx, dy = (light[1:-1, 2:] - light[1:-1, :-2]) / 2, (light[2:, 1:-1] - light[:-2, 1:-1]) / 2
    # Orientation modulo pi: an edge is the same edge when its dark side becomes the bright one.
    position = np.arctan2(dy, dx) % np.pi * (_BINS / np.pi)
    lower = position.astype(np.int64)
    upper_share = position - lower
    strength = np.hypot(dx, dy)
    row = np.arange(side) // _CELL
    first = (row[:, None] * _CELLS + row) * _BINS
    votes = np.bincount((first + lower % _BINS).ravel(), (strength * (1 - upper_share)).ravel(), _CELLS**2 * _BINS)
    votes += np.bincount((first + (lower + 1) % _BINS).ravel(), (strength * upper_share).ravel(), _CELLS**2 * _BINS)
    cells = votes.reshape(_CELLS, _CELLS, _BINS)
    tokens = (cells / (_around(cells) + _FAINT * _CELL**2)).reshape(_CELLS**2, _BINS)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True) + _SOFT
    return tokens @ tokens.T


def _around(cells: np.ndarray) -> np.ndarray:
    """(16, 16, 1): the gradient strength of a cell and its eight neighbours, averaged: the local contrast."""
    strength = np.pad(cells.sum(2), 1, mode="edge")
    total = sum(strength[y : y + _CELLS, x : x + _CELLS] for y in range(3) for x in range(3))
    return np.asarray(total)[:, :, None] / 9
