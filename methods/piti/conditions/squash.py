"""Pictures to condition tensors: squashed to 256 x 256, then to [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from methods.piti.config import CONDITION_SIZE


def squash_nearest(pixels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8 -> 256 x 256 without keeping the aspect ratio, as PITI does."""
    return _squash(pixels, Image.Resampling.NEAREST)


def squash_smooth(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 photo -> 256 x 256, bicubic, without keeping the aspect ratio."""
    return _squash(pixels, Image.Resampling.BICUBIC)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(H, W) or (H, W, C) uint8 -> (C, H, W) float32 in [-1, 1]."""
    channels_last = pixels[:, :, None] if pixels.ndim == 2 else pixels
    values = torch.from_numpy(np.ascontiguousarray(channels_last.transpose(2, 0, 1)))
    # two steps, in this order: the bits are those of the official transform
    return (values.float() / 255 - 0.5) / 0.5


def _squash(pixels: np.ndarray, filter: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((CONDITION_SIZE, CONDITION_SIZE), filter))
