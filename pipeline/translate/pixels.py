"""From what a method returns to the pixels of a picture."""

from __future__ import annotations

import numpy as np
import torch

from methods.base import to_uint8
from pipeline.records import Rejection


def pixels_of(images: torch.Tensor) -> list[np.ndarray | Rejection]:
    """(B, 3, H, W) in [-1, 1] as (H, W, 3) uint8 each; a rejection for one with values that are not numbers."""
    with torch.inference_mode():
        finite = torch.isfinite(images).flatten(1).all(1).tolist()
        pixels = to_uint8(images.nan_to_num())
    rejection = Rejection("translate", "not_finite", "the method returned values that are not numbers")
    return [picture if good else rejection for picture, good in zip(pixels, finite, strict=True)]
