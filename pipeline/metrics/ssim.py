"""Structural similarity (Wang et al. 2004), as torchmetrics computes it, without torch.

OpenCV's separable filters in float32, on bands of rows that stay in the processor's cache, take 37 ms for a 1280x720
picture on one thread, where the library's 2-D convolutions take half a second; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from pipeline.metrics.base import Measured, Pictures

if TYPE_CHECKING:
    import torch

_REACH, _SIGMA = 5, 1.5
# The paper's constants for 8 bits; twice, since both factors are in terms of sum and difference.
_C1, _C2 = 2 * (0.01 * 255) ** 2, 2 * (0.03 * 255) ** 2
_BAND = 64


class Ssim:
    """``ssim`` against the source, ``ssim_target`` against the target (nan without one), -1 to 1, 1 when equal."""

    name: ClassVar[str] = "ssim"
    columns: ClassVar[tuple[str, ...]] = ("ssim", "ssim_target")
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        return Measured(
            {
                "ssim": [ssim(a, b) for a, b in zip(pictures.output, pictures.source, strict=True)],
                "ssim_target": [
                    math.nan if b is None else ssim(a, b) for a, b in zip(pictures.output, pictures.target, strict=True)
                ],
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


class SsimDownsampled:
    """``ssim_downsampled`` and ``ssim_downsampled_target``: SSIM of pictures brought to about 256 pixels.

    The authors' program (Z. Wang, ssim.m, "suggested usage") first averages both pictures over squares and keeps one
    pixel per square: the scale at which its constants were found.
    """

    name: ClassVar[str] = "ssim_downsampled"
    columns: ClassVar[tuple[str, ...]] = ("ssim_downsampled", "ssim_downsampled_target")
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # OpenCV

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        output = [downsampled(each) for each in pictures.output]
        return Measured(
            {
                "ssim_downsampled": [ssim(a, downsampled(b)) for a, b in zip(output, pictures.source, strict=True)],
                "ssim_downsampled_target": [
                    math.nan if b is None else ssim(a, downsampled(b))
                    for a, b in zip(output, pictures.target, strict=True)
                ],
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def downsampled(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) as float32 averages over f x f pixels, every f-th of them; f = max(1, round(shorter side / 256))."""
    factor = max(1, int(min(pixels.shape[:2]) / 256 + 0.5))
    if factor == 1:
        return pixels
    first = (factor - 1) // 2
    mean = cv2.blur(pixels.astype(np.float32), (factor, factor), anchor=(first, first), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(mean[::factor, ::factor])


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of two (H, W, 3) pictures of 0 to 255: Gaussian window of 11 pixels and sigma 1.5, per channel.

    Pictures are mirrored at their edges, as often as it takes where a side is shorter than the window.
    """
    height = a.shape[0]
    total = 0.0
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        first, last = max(top - _REACH, 0), min(bottom + _REACH, height)
        inner = slice(top - first, bottom - first)
        # In terms of sum and difference four filtered planes do the work of five:
        # mean(s)^2 - mean(d)^2 = 4 mean(x) mean(y), mean(s)^2 + mean(d)^2 = 2 (mean(x)^2 + mean(y)^2), variances alike.
        s = cv2.add(a[first:last], b[first:last], dtype=cv2.CV_32F)
        d = cv2.subtract(a[first:last], b[first:last], dtype=cv2.CV_32F)
        mean_s, mean_d, square_s, square_d = (_blurred(each)[inner] for each in (s, d, s * s, d * d))
        mean_s *= mean_s
        mean_d *= mean_d
        square_s -= mean_s
        square_d -= mean_d
        above = (mean_s - mean_d + _C1) * (square_s - square_d + _C2)
        below = (mean_s + mean_d + _C1) * (square_s + square_d + _C2)
        above /= below
        total += float(above.sum(dtype=np.float64))
    return total / a.size


def _blurred(plane: np.ndarray) -> np.ndarray:
    window = 2 * _REACH + 1
    # OpenCV mirrors without repeating the edge, again and again where a side is short.
    return cv2.GaussianBlur(plane, (window, window), _SIGMA, borderType=cv2.BORDER_REFLECT_101)
