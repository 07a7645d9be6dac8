"""How sharp pictures are: translators blur."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures

if TYPE_CHECKING:
    import torch


class Sharpness:
    """``sharpness``: the spread of the Laplacian of the output's luma (Pech-Pacheco et al. 2000) over the mean luma.

    The mean is in it so that a picture does not lose sharpness by being darker. ``sharpness_ratio`` is the output's
    over the source's: 1 as sharp, below 1 blurred, above 1 sharper or noisier; nan for a flat source.
    """

    name: ClassVar[str] = "sharpness"
    columns: ClassVar[tuple[str, ...]] = ("sharpness", "sharpness_ratio")
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        known: dict[int, float] = {}

        def of(picture: np.ndarray) -> float:
            if id(picture) not in known:
                known[id(picture)] = sharpness(picture)
            return known[id(picture)]

        outputs, sources = [of(each) for each in pictures.output], [of(each) for each in pictures.source]
        ratios = [a / b if b > 0 else math.nan for a, b in zip(outputs, sources, strict=True)]
        return Measured({"sharpness": outputs, "sharpness_ratio": ratios})

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def sharpness(picture: np.ndarray) -> float:
    """Standard deviation of the 4-neighbour Laplacian of the luma over its mean, of an (H, W, 3) uint8 picture."""
    # BT.601 in 1/1024, so that everything up to the sums is exact
    luma = picture.astype(np.int32) @ np.array([306, 601, 117], np.int32)
    if min(luma.shape) < 3:
        return 0.0
    middle = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
    scaled = laplacian / 1024
    # a black picture is not infinitely sharp
    return float(scaled.std() / (luma.mean() / 1024 + 1))
