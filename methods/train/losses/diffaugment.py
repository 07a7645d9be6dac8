"""Differentiable augmentation of what a discriminator sees (Zhao et al., arXiv 2006.10738): colour, shift, cutout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.train.draws import Draws

_SHIFT = 0.125
_CUTOUT = 0.5


def diff_augment(x: Tensor, draws: Draws, name: str) -> Tensor:
    """(B, 3, H, W) -> the same shape, with gradient to ``x``.

    Seven draws in this order: brightness, saturation, contrast (uniform, (B, 1, 1, 1)); translation x, y and cutout
    x, y (integers, (B, 1, 1)), where x runs along the height. Shifts are at most an eighth and fill with zeros; the
    cutout is half of each side.
    """
    count, _, height, width = x.shape
    x = x + (draws.uniform(f"{name}.brightness", (count, 1, 1, 1)) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (draws.uniform(f"{name}.saturation", (count, 1, 1, 1)) * 2) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (draws.uniform(f"{name}.contrast", (count, 1, 1, 1)) + 0.5) + mean
    down, right = int(height * _SHIFT + 0.5), int(width * _SHIFT + 0.5)
    move_x = draws.integers(f"{name}.translation_x", -down, down + 1, (count, 1, 1))
    move_y = draws.integers(f"{name}.translation_y", -right, right + 1, (count, 1, 1))
    x = _shifted(x, move_x, move_y)
    tall, wide = int(height * _CUTOUT + 0.5), int(width * _CUTOUT + 0.5)
    at_x = draws.integers(f"{name}.cutout_x", 0, height + (1 - tall % 2), (count, 1, 1))
    at_y = draws.integers(f"{name}.cutout_y", 0, width + (1 - wide % 2), (count, 1, 1))
    return x * _outside(at_x, at_y, tall, wide, height, width).to(x.dtype)


def _shifted(x: Tensor, move_x: Tensor, move_y: Tensor) -> Tensor:
    """Output pixel (i, j) is input pixel (i + move_x, j + move_y), zero outside."""
    count, _, height, width = x.shape
    rows = (torch.arange(height, device=x.device)[None, :, None] + move_x + 1).clamp(0, height + 1)
    columns = (torch.arange(width, device=x.device)[None, None, :] + move_y + 1).clamp(0, width + 1)
    padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    which = torch.arange(count, device=x.device)[:, None, None]
    return padded[which, rows, columns].permute(0, 3, 1, 2)


def _outside(at_x: Tensor, at_y: Tensor, tall: int, wide: int, height: int, width: int) -> Tensor:
    """(B, 1, H, W) mask, false in the box; pixels of the box beyond the border fall on the border."""

    def covered(at: Tensor, size: int, side: int) -> Tensor:
        low = (at - size // 2).clamp(0, side - 1)
        high = (at - size // 2 + size - 1).clamp(0, side - 1)
        place = torch.arange(side, device=at.device)
        return (place >= low[:, 0]) & (place <= high[:, 0])

    rows, columns = covered(at_x, tall, height), covered(at_y, wide, width)
    return ~(rows[:, None, :, None] & columns[:, None, None, :])
