"""Random cuts of a picture for CLIP: rotate, crop, resize, flip; drawn from given noise, applied to a whole batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_DEGREES = 10.0
_AREA = (0.8, 1.0)
_RATIO = (0.9, 1.1)
_TRIES = 10
DRAWS = 1 + 2 * _TRIES + 3
"""Numbers that one cut is made of."""


@dataclass(frozen=True)
class Cuts:
    """K cuts of each of B pictures.

    Attributes:
        angle: (B, K) degrees of rotation, counter-clockwise.
        box: (B, K, 4) top, left, height, width in pixels of the rotated picture.
        flip: (B, K) whether mirrored after the crop.
    """

    angle: Tensor
    box: Tensor
    flip: Tensor


def draw_cuts(noise: Tensor, side: int) -> Cuts:
    """Cuts from standard normal numbers (B, K, DRAWS), with the distribution of torchvision's transforms.

    RandomRotation(10), then RandomResizedCrop(scale 0.8 to 1, ratio 0.9 to 1.1; the middle square after ten tries that
    do not fit), then a flip every other time.
    """
    uniform = (0.5 * (1 + torch.erf(noise.double() / math.sqrt(2)))).clamp(0, 1 - 1e-12)
    angle = (2 * uniform[..., 0] - 1) * _DEGREES
    tries = uniform[..., 1 : 1 + 2 * _TRIES].unflatten(-1, (_TRIES, 2))
    area = side * side * (_AREA[0] + (_AREA[1] - _AREA[0]) * tries[..., 0])
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * tries[..., 1])
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    # argmax gives the first try that fits
    first = fits.int().argmax(dim=-1, keepdim=True)
    some = fits.any(dim=-1)
    width = torch.where(some, width.gather(-1, first)[..., 0], float(side))
    height = torch.where(some, height.gather(-1, first)[..., 0], float(side))
    place = uniform[..., 1 + 2 * _TRIES :]
    top = (place[..., 0] * (side - height + 1)).floor()
    left = (place[..., 1] * (side - width + 1)).floor()
    return Cuts(angle.float(), torch.stack([top, left, height, width], dim=-1).int(), place[..., 2] < 0.5)


def apply_cuts(images: Tensor, cuts: Cuts, resolution: int) -> Tensor:
    """(B, 3, S, S) -> (B * K, 3, R, R): all cuts of the first picture, then of the second, ...

    Rotation takes the nearest pixel and fills with 0; the crop is resized bilinearly without antialias.
    """
    count = cuts.angle.shape[1]
    repeated = images.repeat_interleave(count, dim=0)
    rotated = _rotate(repeated, cuts.angle.flatten().to(images.device))
    return _crop(rotated, cuts, resolution)


def resized(images: Tensor, resolution: int) -> Tensor:
    """(B, 3, S, S) -> (B, 3, R, R) bilinear without antialias."""
    return F.interpolate(images, (resolution, resolution), mode="bilinear", align_corners=False, antialias=False)


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    side = images.shape[-1]
    radians = -torch.deg2rad(degrees.double())
    # the numbers are rounded as torchvision rounds them: the nearest pixel must be the same
    cos, sin = radians.cos().float(), radians.sin().float()
    zero = torch.zeros_like(cos)
    theta = torch.stack([torch.stack([cos, sin, zero], -1), torch.stack([-sin, cos, zero], -1)], dim=1)
    half = 0.5 * side
    line = torch.linspace(-half + 0.5, half - 0.5, side, device=images.device)
    base = torch.stack(
        [line.expand(side, side), line[:, None].expand(side, side), torch.ones_like(line).expand(side, side)], -1
    )
    grid = base.view(1, -1, 3) @ (theta.mT / half)
    grid = grid.view(-1, side, side, 2)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _crop(images: Tensor, cuts: Cuts, resolution: int) -> Tensor:
    """Crop, resize and flip each picture by itself: one gather for all rounds differently in the seventh digit."""
    views = []
    for picture, box, flip in zip(images, cuts.box.flatten(0, 1).tolist(), cuts.flip.flatten().tolist(), strict=True):
        top, left, height, width = box
        view = resized(picture[None, :, top : top + height, left : left + width], resolution)
        views.append(view.flip(-1) if flip else view)
    return torch.cat(views)
