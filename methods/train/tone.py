"""What a place looks like on average in a domain, told by its labels: a pull for unpaired training with label maps.

A discriminator accepts any picture that could be; where the day does not tell (which lamps light this tree, which of
these windows), a translator then makes something up, and its squared error is twice that of the average. The coarse
tones of the average picture are learned from each domain's own pictures and labels, and translations are drawn to them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.train.patchgan import with_position


class ToneNet(nn.Module):
    """Labels to the mean picture, coarse: a small U-Net that also sees the pixel's position.

    Args:
        classes: planes of the label map.
        shrink: labels and pictures are averaged by this factor.
        width: channels at the finest level.
    """

    def __init__(self, classes: int, shrink: int = 4, width: int = 32) -> None:
        super().__init__()
        self.shrink = shrink

        def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU())

        self.fine = conv(classes + 2, width)
        self.middle = conv(width, 2 * width, 2)
        self.coarse = nn.Sequential(conv(2 * width, 4 * width, 2), conv(4 * width, 2 * width))
        self.rise = conv(4 * width, width)
        self.out = nn.Sequential(conv(2 * width, width), nn.Conv2d(width, 3, 1))

    def forward(self, labels: Tensor) -> Tensor:
        """(B, classes, H, W) of zeros and ones -> (B, 3, H/shrink, W/shrink), about [-1, 1]."""
        fine = self.fine(with_position(F.avg_pool2d(labels, self.shrink)))
        middle = self.middle(fine)
        coarse = F.interpolate(self.coarse(middle), middle.shape[-2:], mode="bilinear")
        risen = F.interpolate(self.rise(torch.cat([middle, coarse], 1)), fine.shape[-2:], mode="bilinear")
        return self.out(torch.cat([fine, risen], 1))

    def apart(self, pictures: Tensor, labels: Tensor, detail: float = 0.0) -> Tensor:
        """Mean squared distance between the coarse tones of (B, 3, H, W) pictures and the expected ones.

        ``detail`` is the weight, beside it, of the distance between the pictures themselves and the expected ones
        enlarged to their size: what nobody can know then keeps less of its contrast, and is less wrong.
        """
        expected = self(labels)
        distance = F.mse_loss(F.avg_pool2d(pictures, self.shrink), expected)
        if not detail:
            return distance
        return distance + detail * F.mse_loss(pictures, F.interpolate(expected, pictures.shape[-2:], mode="bilinear"))
