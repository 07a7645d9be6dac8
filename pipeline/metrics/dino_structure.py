"""How far the layout moved in the features of DINO, as papers on image translation measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.network_params import DinoStructureParams

if TYPE_CHECKING:
    import torch


class DinoStructure:
    """``dino_structure``: 0 for an unchanged layout. Published tables often give 100 times the value.

    The mean squared difference of the cosine similarities of all pairs of tokens, in the keys of the last block (layer
    11 of ViT-B/8, heads side by side, the class token among them), of the pictures resized to 224 x 224: the structure
    distance of Splice (Tumanyan et al. 2022), as pix2pix-zero and img2img-turbo report it.
    """

    name: ClassVar[str] = "dino_structure"
    columns: ClassVar[tuple[str, ...]] = ("dino_structure",)

    def __init__(self, device: str | torch.device = "cpu", params: DinoStructureParams | None = None) -> None:
        self._device, self._params = str(device), params or DinoStructureParams()

    def load(self) -> None:
        """Put the network on the device. Raises InputError: weights that do not fit."""
        from pipeline.metrics.dino_features import shared

        shared(self._device, self._params.weights)

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample."""
        # Imported here, as finalise builds every metric and needs no network for it.
        from pipeline.metrics.dino_features import shared

        encoded = shared(self._device, self._params.weights).tokens
        pairs = zip(encoded.of(pictures, "output"), encoded.of(pictures, "source"), strict=True)
        return Measured({"dino_structure": [a.structure_distance(b) for a, b in pairs if a and b]})

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}
