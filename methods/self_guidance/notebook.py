"""The properties as the author's public SDXL notebook computes them, where they differ from the paper's formulas.

Its minimum and maximum run over (width, tokens) of each row of a map rather than over the map, its targets of form and
appearance are hard masks, and a form's target is always resampled once. For reproducing that notebook's numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.self_guidance.properties import SHARPNESS, THRESHOLD, resized

_EPSILON = 1e-4


def shape(maps: Tensor) -> Tensor:
    """The soft mask of each map, (B, h, w, k)."""
    return _normalised(torch.sigmoid(SHARPNESS * (_normalised(maps) - THRESHOLD)))


def target_shape(maps: Tensor) -> Tensor:
    """The hard mask, sampled on a grid whose ends lie on the outermost positions' outer edges, (B, h, w, k)."""
    mask = _hard(maps)
    batch, height, width = mask.shape[:3]
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=maps.device),
        torch.linspace(-1, 1, width, device=maps.device),
        indexing="ij",
    )
    grid = torch.stack([x, y], dim=-1).expand(batch, -1, -1, -1)
    return F.grid_sample(mask.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)


def size(maps: Tensor) -> Tensor:
    """Share of the picture that each soft mask covers, (B, k)."""
    return shape(maps).mean((1, 2))


def centroid(maps: Tensor) -> Tensor:
    """Centre of mass (x, y) of each map, (B, k, 2)."""
    axes = []
    for summed in (1, 2):
        marginal = maps.sum(summed)
        marginal = marginal / (marginal.sum(1, keepdim=True) + _EPSILON)
        places = torch.linspace(0, 1, marginal.shape[1], device=maps.device)[None, :, None]
        axes.append((marginal * places).sum(1))
    return torch.stack(axes, dim=-1)


def appearance(maps: Tensor, features: Tensor) -> Tensor:
    """Mean feature under each hard mask, (B, k, C); no gradient reaches the maps."""
    mask = resized(_hard(maps.detach()), features.shape[2], features.shape[3])
    return torch.einsum("bhwk,bchw->bkc", mask, features) / (mask.sum((1, 2))[..., None] + _EPSILON)


def _normalised(maps: Tensor) -> Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + _EPSILON)


def _hard(maps: Tensor) -> Tensor:
    return (_normalised(maps) > THRESHOLD).to(maps.dtype)
