"""What attention maps and features say of a thing: where, how large, which form, what it looks like (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHARPNESS, THRESHOLD = 10.0, 0.5


def normalised(maps: Tensor) -> Tensor:
    """Each map of (B, h, w, k) stretched to [0, 1]."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def shape(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The soft mask of each map, (B, h, w, k) in [0, 1]: ``norm(sigmoid(10 (norm(A) - threshold)))``."""
    return normalised(torch.sigmoid(SHARPNESS * (normalised(maps) - threshold)))


def size(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Share of the picture that each soft mask covers, (B, k)."""
    return shape(maps, threshold).mean((1, 2))


def centroid(maps: Tensor) -> Tensor:
    """Centre of mass (x, y) of each map, (B, k, 2); 0 and 1 are the centres of the first and the last position."""
    height, width = maps.shape[1:3]
    x = torch.linspace(0, 1, width, device=maps.device)[None, None, :, None]
    y = torch.linspace(0, 1, height, device=maps.device)[None, :, None, None]
    total = maps.sum((1, 2))
    return torch.stack([(maps * x).sum((1, 2)) / total, (maps * y).sum((1, 2)) / total], dim=-1)


def appearance(maps: Tensor, features: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Mean feature under each soft mask, (B, k, C).

    Args:
        maps: (B, h, w, k); the mask is resized to the features where they differ.
        features: (B, C, h', w').
    """
    mask = resized(shape(maps, threshold), features.shape[2], features.shape[3])
    weight = mask.sum((1, 2))[..., None]
    return torch.einsum("bhwk,bchw->bkc", mask, features) / weight


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """(B, h, w, k) -> (B, height, width, k), bilinear with antialiasing."""
    if maps.shape[1:3] == (height, width):
        return maps
    moved = maps.permute(0, 3, 1, 2)
    return F.interpolate(moved, (height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
