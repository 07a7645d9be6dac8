"""A perceptual distance on ImageNet features that need no hub."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.nn.efflite0 import load_efflite0


class PerceptualDistance(nn.Module):
    """Mean squared distance of unit-normalised features, summed over stages (LPIPS, arXiv 1801.03924, unit weights).

    Args:
        stages: how many of EfficientNet-Lite0's five stages to use, finest first.
    """

    def __init__(self, stages: int = 4) -> None:
        super().__init__()
        self.network = load_efflite0().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stages = stages

    def _features(self, images: Tensor) -> list[Tensor]:
        found = self.network.stages(images.clamp(-1.05, 1.05) * 0.5 + 0.5, self.stages)
        # in mixed precision features come in half precision: their differences are small
        return [h / (h.square().sum(1, keepdim=True) + 1e-6).sqrt() for h in (level.float() for level in found)]

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (B, 3, H, W) batches in [-1, 1] -> scalar. No gradient to ``target``."""
        with torch.no_grad():
            wanted = self._features(target)
        terms = [(f - w).square().sum(1).mean() for f, w in zip(self._features(output), wanted, strict=True)]
        return torch.stack(terms).sum()
