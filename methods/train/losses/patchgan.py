"""A PatchGAN discriminator, conditional or not, that also sees where in the picture it looks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_UNCONDITIONAL_GAIN = 16.0


class PositionPatchGAN(nn.Module):
    """Scores patches of (output, input) pairs (Isola et al., arXiv 1611.07004, section 3.2.2), with spectral norm.

    Street pictures have a strong prior of position (sky above, road below); two coordinate planes make it visible to a
    network whose receptive field is a patch.

    Args:
        width: channels after the first convolution; they double twice.
        conditions: channels of what the output was made from; 0 for a discriminator that sees the output alone.
    """

    def __init__(self, width: int = 32, conditions: int = 3) -> None:
        super().__init__()
        # Spectral norm in every layer keeps logits within a few hundredths where no condition helps to tell real from
        # fake, far from the margin of the hinge loss; its gradient would then move nothing.
        self.gain = 1.0 if conditions else _UNCONDITIONAL_GAIN

        def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, 4 if stride == 2 else 3, stride, 1))

        self.layers = nn.Sequential(
            conv(5 + conditions, width, 2),
            nn.LeakyReLU(0.2),
            conv(width, 2 * width, 2),
            nn.LeakyReLU(0.2),
            conv(2 * width, 4 * width, 2),
            nn.LeakyReLU(0.2),
            conv(4 * width, 4 * width, 1),
            nn.LeakyReLU(0.2),
        )
        self.coarse = conv(4 * width, 1, 1)
        self.fine = conv(2 * width, 1, 1)

    def forward(self, output: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1], (B, C, H, W) of the conditions -> logits (B, 1, H/4, W/4) and (B, 1, H/8, W/8)."""
        seen = output if condition is None else torch.cat([output, condition], dim=1)
        middle = self.layers[:4](_with_position(seen))
        return [self.gain * self.fine(middle).float(), self.gain * self.coarse(self.layers[4:](middle)).float()]


def _with_position(planes: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C + 2, H, W): two planes more, x and y in [-1, 1]."""
    count, _, height, width = planes.shape
    y = torch.linspace(-1, 1, height, device=planes.device).view(1, 1, -1, 1).expand(count, 1, height, width)
    x = torch.linspace(-1, 1, width, device=planes.device).view(1, 1, 1, -1).expand(count, 1, height, width)
    return torch.cat([planes, x, y], dim=1)


def hinge_for_discriminator(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Mean over the scales of ``relu(1 - D(real)) + relu(1 + D(fake))``."""
    terms = [torch.relu(1 - r).mean() + torch.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def hinge_for_generator(fake: list[Tensor]) -> Tensor:
    """Mean over the scales of ``-D(fake)``."""
    return torch.stack([-f.mean() for f in fake]).mean()
