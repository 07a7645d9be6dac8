"""Images as the input of Asyrp's UNets."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from methods.nn.image_prep import to_tensor

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_square(image: np.ndarray, side: int, resample: str) -> Tensor:
    """(H, W, 3) uint8 -> (3, side, side) float32 in [-1, 1]; the aspect ratio is not kept.

    Args:
        resample: ``bilinear`` or ``bicubic``.
    """
    resized = Image.fromarray(image).resize((side, side), _FILTERS[resample])
    return to_tensor(np.asarray(resized))
