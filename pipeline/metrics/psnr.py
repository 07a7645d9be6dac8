"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from pipeline.metrics.base import Measured, Pictures

if TYPE_CHECKING:
    import torch

IDENTICAL = 100.0
"""What stands for the infinite ratio of two equal pictures, and the most any pair gets."""


class Psnr:
    """``psnr`` against the source, ``psnr_target`` against the target (nan without one), in dB, 0 to 100.

    Over a translation, a high value against the source says "little changed", and the blurred mean of a domain has a
    high one against the target: read it beside ``ssim`` and a feature distance.
    """

    name: ClassVar[str] = "psnr"
    columns: ClassVar[tuple[str, ...]] = ("psnr", "psnr_target")
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy: cheaper than a transfer

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        return Measured(
            {
                "psnr": [psnr(a, b) for a, b in zip(pictures.output, pictures.source, strict=True)],
                "psnr_target": [
                    math.nan if b is None else psnr(a, b) for a, b in zip(pictures.output, pictures.target, strict=True)
                ],
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """10 log10(255^2 / mean squared error) of two uint8 pictures of one shape."""
    squares = cv2.norm(np.ascontiguousarray(a), np.ascontiguousarray(b), cv2.NORM_L2SQR)  # exact for whole numbers
    if not squares:
        return IDENTICAL
    return min(10 * math.log10(255 * 255 * a.size / squares), IDENTICAL)
