"""The properties as the author's public SDXL notebook computes them, where they differ from the paper's formulas.

Its minimum and maximum run over (width, tokens) of each row of a map rather than over the map, its targets of form and
appearance are hard masks, and a form's target is always resampled once. For reproducing that notebook's numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.self_guidance.properties import SHARPNESS, THRESHOLD, resized

_EPSILON = 1e-4


def shape(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The soft mask of each map, (B, h, w, k)."""
    return _normalised(torch.sigmoid(SHARPNESS * (_normalised(maps) - threshold)))


def target_shape(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The hard mask that a form is compared with before it is warped, (B, h, w, k)."""
    return _hard(maps, threshold)


def size(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Share of the picture that each soft mask covers, (B, k)."""
    return shape(maps, threshold).mean((1, 2))


def centroid(maps: Tensor) -> Tensor:
    """Centre of mass (x, y) of each map, (B, k, 2)."""
    axes = []
    for summed in (1, 2):
        marginal = maps.sum(summed)
        marginal = marginal / (marginal.sum(1, keepdim=True) + _EPSILON)
        places = torch.linspace(0, 1, marginal.shape[1], device=maps.device)[None, :, None]
        axes.append((marginal * places).sum(1))
    return torch.stack(axes, dim=-1)


def appearance(maps: Tensor, features: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Mean feature under each hard mask, (B, k, C); no gradient reaches the maps."""
    mask = resized(_hard(maps.detach(), threshold), features.shape[2], features.shape[3])
    return torch.einsum("bhwk,bchw->bkc", mask, features) / (mask.sum((1, 2))[..., None] + _EPSILON)


def _normalised(maps: Tensor) -> Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + _EPSILON)


def _hard(maps: Tensor, threshold: float) -> Tensor:
    return (_normalised(maps) > threshold).to(maps.dtype)
