"""What a place looks like on average in a domain, told by its labels: a pull for unpaired training with label maps.

A discriminator accepts any picture that could be; where the day does not tell (which lamps light this tree, which of
these windows), a translator then makes something up, and its squared error is twice that of the average. The average
picture is learned from each domain's own pictures and annotations, and translations are drawn to it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.train.losses.patchgan import with_position

_GROUPS = 8
# Keeps ratios of dark tones, which are grain rather than surface, near 1.
_FLOOR = 0.15


class ToneNet(nn.Module):
    """Annotations to the mean picture, coarse: a U-Net of five levels that also sees the pixel's position.

    Args:
        planes: channels of the annotations.
        shrink: annotations and pictures are averaged by this factor.
        width: channels at the finest level, a multiple of 8; below they double, twice.
    """

    def __init__(self, planes: int, shrink: int = 4, width: int = 24) -> None:
        super().__init__()
        self.shrink = shrink
        widths = [width, 2 * width, 4 * width, 4 * width, 4 * width]

        def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(_GROUPS, outputs), nn.SiLU())

        self.first = conv(planes + 2, width)
        self.down = nn.ModuleList(conv(above, below, 2) for above, below in pairwise(widths))
        self.deepest = conv(widths[-1], widths[-1])
        self.up = nn.ModuleList(conv(above + below, above) for above, below in pairwise(widths))
        self.out = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, annotations: Tensor, scale: int = 1) -> Tensor:
        """(B, planes, H, W), about [0, 1] -> (B, 3, H * scale / shrink, W * scale / shrink), about [-1, 1].

        ``scale``: by how much smaller than usual the annotations are: the tones stay as coarse in the scene.
        """
        seen = self.first(with_position(F.avg_pool2d(annotations, self.shrink // scale)))
        levels = list[Tensor]()
        for down in self.down:
            levels.append(seen)
            seen = down(seen)
        seen = self.deepest(seen)
        for up, level in zip(reversed(list(self.up)), reversed(levels), strict=True):
            seen = up(torch.cat([F.interpolate(seen, level.shape[-2:]), level], 1))
        return self.out(seen)

    def apart(self, pictures: Tensor, annotations: Tensor, scale: int = 1) -> Tensor:
        """:func:`tones_apart` for the tones that :meth:`forward` expects."""
        return tones_apart(pictures, self(annotations, scale), self.shrink // scale)


def tones_apart(
    pictures: Tensor,
    expected: Tensor,
    shrink: int,
    detail: float = 0.0,
    coarser: int = 1,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared distance between the coarse tones of (B, 3, H, W) pictures and the expected ones.

    Args:
        pictures: in [-1, 1].
        expected: (B, 3, H / shrink, W / shrink), of a :class:`ToneNet`, or with surfaces :func:`carried` over.
        shrink: by how much the pictures are averaged for that.
        detail: weight, beside it, of the distance between the pictures themselves and the expected ones enlarged to
            their size: what nobody can know then keeps less of its contrast, and is less wrong.
        coarser: averages both once more by that factor: what is finer is left to others.
        weights: (B, 1, H / shrink, W / shrink), how many times a place counts; 1 if None.
    """
    tones = F.avg_pool2d(pictures, shrink)
    squares = (F.avg_pool2d(tones, coarser) - F.avg_pool2d(expected, coarser)).square()
    distance = (squares if weights is None else squares * F.avg_pool2d(weights, coarser)).mean()
    if not detail:
        return distance
    return distance + detail * F.mse_loss(pictures, F.interpolate(expected, pictures.shape[-2:], mode="bilinear"))


def carried(expected: Tensor, source: Tensor, usual: Tensor, share: Tensor) -> Tensor:
    """What is expected in the other domain, with the surfaces of these very things: a red car stays a red car.

    A picture is light times surface. That a thing is lighter or redder than its like mostly comes of its surface, which
    no weather and no hour changes, so that its ratio to what is usual goes over into the other domain.

    Args:
        expected: (B, 3, h, w) in [-1, 1], the other domain's tones.
        source: the same of the pictures that are translated.
        usual: the tones that their own domain lets one expect.
        share: (B, 1, h, w) in [0, 1], exponent of the ratio: 0 where the difference is light (shadows on the road, lit
            windows), towards 1 where it is surface.
    """
    there, here, mean = ((tones.clamp(-1.0, 1.0) + 1.0) / 2.0 + _FLOOR for tones in (expected, source, usual))
    return 2.0 * (there * (here / mean) ** share - _FLOOR) - 1.0
