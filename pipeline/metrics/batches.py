"""Batches of pictures on a device, cut so that a value does not depend on the pictures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

_MOST = 32


def unit_batches(pictures: Sequence[np.ndarray], device: torch.device) -> Iterator[Tensor]:
    """(B, 3, H, W) float32 in [0, 1] on ``device``, in order, from (H, W, 3) uint8 pictures of one size.

    On the CPU pictures go one by one: there a matrix product of a batch rounds otherwise than that of one picture.
    """
    step = 1 if device.type == "cpu" else _MOST
    for start in range(0, len(pictures), step):
        stacked = torch.from_numpy(np.stack(pictures[start : start + step]))
        yield stacked.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
