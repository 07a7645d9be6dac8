"""A perceptual distance in EfficientNet-Lite0 features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures

if TYPE_CHECKING:
    import torch

    from pipeline.metrics.efflite0 import Features


class FeatDistEffLite0:
    """``featdist_efflite0`` against the source, ``featdist_efflite0_target`` against the target (nan without one).

    The form of LPIPS (Zhang et al. 2018, equation 1) with unit weights: at each place of five feature maps the squared
    distance of the unit-length channel vectors, averaged over places, summed over maps: 0 (equal) to 20.
    """

    name: ClassVar[str] = "featdist_efflite0"
    columns: ClassVar[tuple[str, ...]] = ("featdist_efflite0", "featdist_efflite0_target")

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = str(device)

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        # Imported here, as finalise builds every metric and needs no network for it.
        from pipeline.metrics.efflite0 import shared

        maps = shared(self._device).maps
        output, source, target = (maps.of(pictures, role) for role in ("output", "source", "target"))
        return Measured(
            {
                "featdist_efflite0": [_distance(a, b) for a, b in zip(output, source, strict=True)],
                "featdist_efflite0_target": [_distance(a, b) for a, b in zip(output, target, strict=True)],
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def _distance(a: Features | None, b: Features | None) -> float:
    if a is None or b is None:
        return math.nan
    return sum(
        float((_unit(one) - _unit(other)).square().sum(0).mean()) for one, other in zip(a.stages, b.stages, strict=True)
    )


def _unit(stage: torch.Tensor) -> torch.Tensor:
    return stage / (stage.square().sum(0, keepdim=True).sqrt() + 1e-10)
