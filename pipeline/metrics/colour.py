"""Colour and brightness of pictures: a night that is not dark is found by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline import codec
from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.lab import to_lab

if TYPE_CHECKING:
    import torch

_SIDE = 256
_AXES = ("l", "a", "b")


class Colour:
    """Mean and standard deviation of the output's CIELAB (``colour_l``, ``colour_l_std``, ``colour_a``, ...).

    ``brightness_ratio`` is the mean L* (0 to 100) of the output over that of the source: below 1 is darker than before.
    ``colour_shift`` is the distance between the mean colours of source and output (CIE 1976 delta E). Pictures are
    first reduced to at most 256 pixels a side, so that a large one costs no more.
    """

    name: ClassVar[str] = "colour"
    columns: ClassVar[tuple[str, ...]] = (
        *(f"colour_{axis}{kind}" for axis in _AXES for kind in ("", "_std")),
        "brightness_ratio",
        "colour_shift",
    )
    concurrent: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
        found: dict[str, list[float]] = {name: [] for name in self.columns}
        for source, output in zip(pictures.source, pictures.output, strict=True):
            (before, _), (mean, spread) = _statistics(source), _statistics(output)
            for number, axis in enumerate(_AXES):
                found[f"colour_{axis}"].append(float(mean[number]))
                found[f"colour_{axis}_std"].append(float(spread[number]))
            found["brightness_ratio"].append(float(mean[0] / max(before[0], 1e-3)))
            found["colour_shift"].append(float(np.linalg.norm(mean - before)))
        return Measured(found)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def _statistics(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = picture.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = codec.resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))), "box")
    lab = to_lab(small).reshape(-1, 3)
    return lab.mean(0, dtype=np.float64), lab.std(0, dtype=np.float64)
