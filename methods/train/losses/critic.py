"""A PatchGAN critic trained as WGAN-GP (arXiv 1611.07004 section 3.2.2, arXiv 1704.00028)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchCritic(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, 1, H / 8 - 2, W / 8 - 2): one score per patch, higher for more realistic ones.

    Args:
        width: channels after the first of three strided convolutions.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(before * width, after * width, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(after * width),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


def critic_loss(critic: nn.Module, fake: Tensor, real: Tensor, mix: Tensor) -> Tensor:
    """mean(D(fake) - D(real)) + 10 (||grad D|| - 1)^2 on mixtures; ``mix`` is uniform (B,)."""
    share = mix[:, None, None, None]
    between = (share * real + (1 - share) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return (critic(fake) - critic(real)).mean() + 10 * penalty


def generator_loss(critic: nn.Module, fake: Tensor) -> Tensor:
    """-mean D(fake)."""
    return -critic(fake).mean()
