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
    """

    keys: Tensor

    def structure_distance(self, other: DinoTokens) -> float:
        """Mean squared difference of the two matrices of cosine similarities between tokens."""
        return float(F.mse_loss(_similarities(self.keys), _similarities(other.keys)))


@cache
def shared(device: str, weights: str) -> EncodedPictures[DinoTokens]:
    """The one extractor of this process for a file of weights on a device.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """
    where = torch.device(device)
    network = load_dino(store.fetch(weights)).to(where)

    @torch.inference_mode()
    def encode(pictures: Sequence[np.ndarray]) -> list[DinoTokens]:
        small = [codec.resize(picture, (network.side, network.side), "bilinear") for picture in pictures]
        found: list[DinoTokens] = []
        for batch in unit_batches(small, where):
            found += [DinoTokens(keys) for keys in network(batch * 2 - 1).keys]
        return found

    return EncodedPictures(encode)


def _similarities(keys: Tensor) -> Tensor:
    length = keys.norm(dim=1, keepdim=True)
    return (keys @ keys.T) / (length @ length.T).clamp(min=1e-8)
