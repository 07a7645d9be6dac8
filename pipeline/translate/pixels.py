"""From what a method returns to the pixels of a picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from methods.base import levels, to_uint8
from pipeline.records import Rejection


def pixels_of(images: torch.Tensor, rounded: bool = False) -> list[np.ndarray | Rejection]:
    """(B, 3, H, W) in [-1, 1] as (H, W, 3) uint8 each, cut off or ``rounded``.

    A picture with values that are not numbers becomes a rejection.
    """
    with torch.inference_mode():
        # One value that is no number makes the sum none: a thirtieth of the work of looking at each.
        total = images.sum(dtype=torch.float32)
        pixels = _pixels(images, rounded)
        if torch.isfinite(total):
            return [*pixels]
        # Something is not finite, or the sum alone became too large.
        finite = torch.isfinite(images).flatten(1).all(1).tolist()
        pixels = _pixels(images.nan_to_num(), rounded)
    rejection = Rejection("translate", "not_finite", "the method returned values that are not numbers")
    return [picture if good else rejection for picture, good in zip(pixels, finite, strict=True)]


def _pixels(images: torch.Tensor, rounded: bool) -> list[np.ndarray]:
    if images.is_cuda:
        return [*to_uint8(images, rounded)]
    # Picture by picture, which stays in the cache, and with OpenCV, which weaves planes together several times faster.
    return [cv2.merge([*levels(picture, rounded).numpy()]) for picture in images]
