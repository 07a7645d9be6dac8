"""Moving, stretching and turning the mask that a shape is to take."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.self_guidance.warp_spec import Warp


def warped(masks: Tensor, centre: Tensor, warp: Warp) -> Tensor:
    """Each mask stretched and turned about its centre, then shifted; bilinear, 0 from outside.

    Args:
        masks: (B, h, w, k).
        centre: (B, k, 2) as :func:`methods.self_guidance.properties.centroid` gives it.
    """
    height, width = masks.shape[1:3]
    places = centre.new_tensor([width - 1, height - 1])
    shift = centre.new_tensor([warp.dx * width, warp.dy * height])
    centre = centre * places
    at = _positions(height, width, masks.device) - (centre + shift)[:, :, None, None]
    from_ = _turned(at, warp) + centre[:, :, None, None]
    grid = (from_ + 0.5) / centre.new_tensor([width, height]) * 2 - 1
    planes = masks.permute(0, 3, 1, 2).flatten(0, 1)[:, None]
    moved = F.grid_sample(planes, grid.flatten(0, 1), align_corners=False)
    return moved.unflatten(0, (masks.shape[0], masks.shape[3]))[:, :, 0].permute(0, 2, 3, 1)


def notebook_warped(masks: Tensor, observed: Tensor, warp: Warp) -> Tensor:
    """The same as the author's notebook has it, (B, h, w, k).

    The centre is that of the observed shape of the first token, a share of the side and not of its last position; the
    shift is measured after stretching; and the grid's ends lie on the outermost positions' outer edges, so that a warp
    that does nothing still resamples.

    Args:
        observed: (B, 2) the centre (x, y).
    """
    height, width = masks.shape[1:3]
    sides = observed.new_tensor([width, height])
    centre = (observed * sides)[:, None, None]
    at = _positions(height, width, masks.device) - centre
    shift = observed.new_tensor([warp.dx * warp.sx * width, warp.dy * warp.sy * height])
    from_ = _turned(at, warp) - shift + centre
    grid = 2 * from_ / (sides - 1) - 1
    return F.grid_sample(masks.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)


def _positions(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w, 2): (x, y) of each position."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], dim=-1).float()


def _turned(at: Tensor, warp: Warp) -> Tensor:
    """Where what arrives at ``at`` (..., 2), seen from the centre, was before it was turned and stretched."""
    angle = math.radians(warp.rotation)
    x, y = at.unbind(-1)
    back_x = (math.cos(angle) * x + math.sin(angle) * y) / warp.sx
    back_y = (math.cos(angle) * y - math.sin(angle) * x) / warp.sy
    return torch.stack([back_x, back_y], dim=-1)
