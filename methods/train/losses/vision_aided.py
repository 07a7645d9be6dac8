"""The vision-aided discriminator: small heads on the features of a frozen image network (Kumari et al., 2112.09130)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from methods.train.draws import Draws
from methods.train.losses.diffaugment import diff_augment

Kind = Literal["real", "fake", "for_G"]


class _Blur(nn.Module):
    """The 1-3-3-1 filter with zero padding 1 (antialiasing before the stride that follows)."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = torch.outer(row, row)
        self.register_buffer("filt", (kernel / kernel.sum()).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.filt, padding=1, groups=x.shape[1])


class MultiLevelHead(nn.Module):
    """Logits from every level of a backbone; parameter names are the official ones.

    A map goes through 3x3 convolution, LeakyReLU 0.2, blur, 1x1 convolution of stride 2; the vector through two linear
    layers. Spectral norm everywhere, with one power iteration per training call: the head changes with every call.

    Args:
        channels: of the maps, then the width of the vector.
        hidden: channels inside.
    """

    def __init__(self, channels: Sequence[int], hidden: int = 256) -> None:
        super().__init__()
        *maps, vector = channels
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.Identity(),
                spectral_norm(nn.Conv2d(each, hidden, 3, 1, 1)),
                nn.LeakyReLU(0.2),
                _Blur(hidden),
                spectral_norm(nn.Conv2d(hidden, 1, 1, 2)),
            )
            for each in maps
        )
        self.decoder.append(nn.Sequential(spectral_norm(nn.Linear(vector, hidden)), nn.LeakyReLU(0.2)))
        self.out = spectral_norm(nn.Linear(hidden, 1))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Backbone features -> (B, h', w') logits of each map and (B, 1) of the vector."""
        found = [decode(level) for decode, level in zip(self.decoder, features, strict=True)]
        return [level.squeeze(1) for level in found[:-1]] + [self.out(found[-1])]


def multilevel_loss(logits: Sequence[Tensor], kind: Kind, real_target: float = 1.0) -> Tensor:
    """(B, 1): the sum over levels of the mean binary cross-entropy with the wanted answer.

    Args:
        logits: as :class:`MultiLevelHead` gives them.
        kind: ``real`` and ``fake`` for the discriminator, ``for_G`` for the generator, which wants "real".
        real_target: the answer "real": 1, or 0.8 in the smoothed variant (``multilevel_sigmoid_s``).
    """
    target = 0.0 if kind == "fake" else real_target
    losses = [
        F.binary_cross_entropy_with_logits(level, torch.full_like(level, target), reduction="none").flatten(1).mean(1)
        for level in logits
    ]
    return torch.stack(losses).sum(0)[:, None]


class VisionAidedDiscriminator(nn.Module):
    """Augment, look at it with a frozen backbone, score it at several depths.

    The backbone is no part of ``parameters()`` or ``state_dict()``.

    Args:
        backbone: frozen, on the device: (B, 3, H, W) in [-1, 1] -> feature maps (B, C, h, w) and at last one vector
            (B, D), with gradient to the pictures; its ``channels`` are those of the maps, then the vector's width.
        hidden: channels of the heads.
        real_target: see :func:`multilevel_loss`.
    """

    def __init__(self, backbone: nn.Module, hidden: int = 256, real_target: float = 1.0) -> None:
        super().__init__()
        self._backbone = (backbone,)
        self.head = MultiLevelHead(cast("tuple[int, ...]", backbone.channels), hidden)
        self.real_target = real_target

    def forward(self, images: Tensor, kind: Kind, draws: Draws, name: str) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> loss per sample (B, 1)."""
        features = self._backbone[0](diff_augment(images, draws, name))
        return multilevel_loss(self.head([level.float() for level in features]), kind, self.real_target)
