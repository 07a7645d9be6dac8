"""Pictures as Asyrp's UNets want them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_square(image: np.ndarray, side: int, resample: str) -> Tensor:
    """(H, W, 3) uint8 -> (3, side, side) float32 in [-1, 1]; the aspect ratio is not kept.

    Args:
        resample: ``bilinear`` or ``bicubic``.
    """
    resized = Image.fromarray(image).resize((side, side), _FILTERS[resample])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float().div(127.5).sub(1.0)
