"""The U-Net of pix2pix (section 3.2.1 of arXiv 1611.07004), for any size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUP = 8


class UNetGenerator(nn.Module):
    """Strided convolutions down, nearest-neighbour upsampling and convolutions up, a skip at every level.

    Against the paper: no dropout and no batch statistics (group norm), so that a picture's translation depends on that
    picture alone; upsampling instead of transposed convolutions, which leave a grid.

    Args:
        width: channels of the first level, a multiple of 8; they double to at most four times that.
        levels: how often the sides are halved.
    """

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        self.width, self.levels = width, levels
        channels = [width * min(2**level, 4) for level in range(levels + 1)]
        self.stem = nn.Conv2d(3, channels[0], 3, 1, 1)
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in pairwise(channels))
        self.middle = _block(channels[-1], channels[-1])
        self.up = nn.ModuleList(_block(b + a, a) for a, b in pairwise(channels))
        self.head = nn.Conv2d(channels[0], 3, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the same, at least ``2 ** levels`` pixels a side."""
        height, width = images.shape[-2:]
        unit = 2**self.levels
        # mirrored to whole units, and cut back behind
        padded = F.pad(images, (0, -width % unit, 0, -height % unit), mode="reflect")
        x = self.stem(padded)
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(x)
        x = self.middle(x)
        for block, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        return torch.tanh(self.head(x))[..., :height, :width]


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        nn.GroupNorm(outputs // _GROUP, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1),
        nn.GroupNorm(outputs // _GROUP, outputs),
        nn.SiLU(),
    )
