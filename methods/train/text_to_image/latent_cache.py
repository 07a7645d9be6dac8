"""Latents of pictures that were encoded once, kept in memory while a frozen autoencoder feeds the second stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(B, 3, H, W) pictures -> mean and deviation of their latents, (B, C, h, w) each."""


class LatentCache:
    """Mean and deviation by the picture's own values, in half precision, on the CPU.

    Args:
        limit: pictures that are kept, the first ones seen; 0 keeps none, and batches are encoded whole.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: dict[bytes, Tensor] = {}

    def of(self, images: Tensor, encode: Encode) -> tuple[Tensor, Tensor]:
        """Mean and deviation of a batch, (B, C, h, w) float32 each, on the device of ``images``."""
        if not self.limit:
            return encode(images)
        found = torch.stack([self._one(image, encode) for image in images]).to(images.device).float()
        return found[:, 0], found[:, 1]

    def clear(self) -> None:
        """Forget all, for another autoencoder."""
        self._kept.clear()

    def _one(self, image: Tensor, encode: Encode) -> Tensor:
        key = hashlib.blake2b(image.cpu().numpy().tobytes(), digest_size=16).digest()
        if key in self._kept:
            return self._kept[key]
        # alone, and rounded: what a batch sees does not depend on which of its pictures were known before
        pair = torch.cat(encode(image[None])).half().cpu()
        if len(self._kept) < self.limit:
            self._kept[key] = pair
        return pair
