"""Structural similarity at five scales (Wang et al. 2003), as torchmetrics computes it, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures

if TYPE_CHECKING:
    import torch

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_REACH, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2
SMALLEST = 161
"""The shortest side of which five scales exist."""


class MsSsim:
    """``ms_ssim`` against the source, ``ms_ssim_target`` against the target (nan without one), 0 to 1, 1 when equal.

    nan for pictures with a side below 161 pixels, of which there are no five scales.
    """

    name: ClassVar[str] = "ms_ssim"
    columns: ClassVar[tuple[str, ...]] = ("ms_ssim", "ms_ssim_target")
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # OpenCV's filters

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        return Measured(
            {
                "ms_ssim": [ms_ssim(a, b) for a, b in zip(pictures.output, pictures.source, strict=True)],
                "ms_ssim_target": [
                    math.nan if b is None else ms_ssim(a, b)
                    for a, b in zip(pictures.output, pictures.target, strict=True)
                ],
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM of two (H, W, 3) uint8 pictures; nan below 161 pixels a side."""
    if min(a.shape[:2]) < SMALLEST:
        return math.nan
    x, y = a.astype(np.float32) / 255, b.astype(np.float32) / 255
    value = 1.0
    for scale, weight in enumerate(_WEIGHTS):
        similarity, contrast = _similarity(x, y)
        # torchmetrics sets what is negative to 0, which has no real power
        value *= max(similarity if scale == len(_WEIGHTS) - 1 else contrast, 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return value


def _similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean of its contrast and structure term, where the window lies within the picture."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    covariance = _blurred(x * y) - product
    variances = np.maximum(_blurred(x * x) - mean_x**2, 0) + np.maximum(_blurred(y * y) - mean_y**2, 0)
    contrast = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * product + _C1) / (squares + _C1)
    return float((luminance * contrast).mean(dtype=np.float64)), float(contrast.mean(dtype=np.float64))


def _blurred(picture: np.ndarray) -> np.ndarray:
    import cv2

    kernel = cv2.getGaussianKernel(2 * _REACH + 1, _SIGMA, cv2.CV_32F)
    return cv2.sepFilter2D(picture, cv2.CV_32F, kernel, kernel)[_REACH:-_REACH, _REACH:-_REACH]


def _halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd row or column at the end is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
