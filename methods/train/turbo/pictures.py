"""Validation pictures: tensors to 8 bit, put side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from methods.base import to_uint8


def picture_of(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    return to_uint8(image.float().clamp(-1, 1))[0]


def side_by_side(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of (H, W, 3) pictures as one picture; shorter rows are filled up with black on the right."""
    strips = [np.concatenate([_to_height(p, row[0].shape[0]) for p in row], axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate([np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips])


def _to_height(picture: np.ndarray, height: int) -> np.ndarray:
    return np.pad(picture[:height], ((0, max(0, height - picture.shape[0])), (0, 0), (0, 0)))
