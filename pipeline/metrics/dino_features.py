"""DINO's features of pictures, shared by the metrics that use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods import weights as store
from methods.nn.dino import load_dino
from pipeline import codec
from pipeline.metrics.batches import unit_batches
from pipeline.metrics.encoded import EncodedPictures


@dataclass(frozen=True)
class DinoTokens:
    """Of one picture.

    Attributes:
        keys: (1 + patches, width) of the last block.
        cls: (width,) the class token after the final norm.
    """

    keys: Tensor
    cls: Tensor

    def structure_distance(self, other: DinoTokens) -> float:
        """Mean squared difference of the two matrices of cosine similarities between tokens."""
        return float(F.mse_loss(_similarities(self.keys), _similarities(other.keys)))


class SharedDino:
    """A DINO on one device.

    Attributes:
        tokens: of each picture, resized to the network's side by Pillow's bilinear filter.
        vectors: (width,) float16 class token of each, for metrics of sets.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """

    def __init__(self, device: str, weights: str) -> None:
        self._device = torch.device(device)
        self._network = load_dino(store.fetch(weights)).to(self._device)
        self.tokens: EncodedPictures[DinoTokens] = EncodedPictures(self._encode)
        self.vectors: EncodedPictures[np.ndarray] = self.tokens.reading(lambda each: each.cls.half().cpu().numpy())

    @torch.inference_mode()
    def _encode(self, pictures: Sequence[np.ndarray]) -> list[DinoTokens]:
        side = self._network.side
        small = [codec.resize(picture, (side, side), "bilinear") for picture in pictures]
        found: list[DinoTokens] = []
        for batch in unit_batches(small, self._device):
            features = self._network(batch * 2 - 1)
            found += map(DinoTokens, features.keys, self._network.norm(features.cls))
        return found


@cache
def shared(device: str, weights: str) -> SharedDino:
    """The one network of this process for a file of weights on a device. Raises InputError as :class:`SharedDino`."""
    return SharedDino(device, weights)


def _similarities(keys: Tensor) -> Tensor:
    length = keys.norm(dim=1, keepdim=True)
    return (keys @ keys.T) / (length @ length.T).clamp(min=1e-8)
