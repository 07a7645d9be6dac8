"""Images resized to PITI's 256 x 256, the aspect ratio not kept."""

from __future__ import annotations

import numpy as np
from PIL import Image

from methods.piti.config import CONDITION_SIZE


def squash_nearest(pixels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8 -> 256 x 256 without keeping the aspect ratio, as PITI does."""
    return _squash(pixels, Image.Resampling.NEAREST)


def squash_smooth(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 photo -> 256 x 256, bicubic, without keeping the aspect ratio."""
    return _squash(pixels, Image.Resampling.BICUBIC)


def _squash(pixels: np.ndarray, filter: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((CONDITION_SIZE, CONDITION_SIZE), filter))
