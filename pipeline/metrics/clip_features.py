"""CLIP's features of pictures and texts, shared by the metrics that use them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.errors import InputError
from methods.nn.clip import load_clip
from pipeline import codec
from pipeline.metrics.batches import unit_batches
from pipeline.metrics.encoded import EncodedPictures

_TEXTS = 4096


class ClipFeatures:
    """One CLIP on one device. Features are of unit length.

    Attributes:
        pictures: (D,) of each picture, prepared as CLIP's own: the short side to its resolution by a bicubic filter,
            then the middle square.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """

    def __init__(self, device: str, model: str) -> None:
        self._device = torch.device(device)
        self._clip = load_clip(model).to(self._device)
        self._texts: dict[str, Tensor | None] = {}
        self.pictures: EncodedPictures[Tensor] = EncodedPictures(self.encode)

    def text(self, text: str) -> Tensor | None:
        """(D,) of a text; ``None`` for one that is longer than CLIP's 77 tokens."""
        if text not in self._texts:
            if len(self._texts) >= _TEXTS:
                self._texts.clear()
            try:
                self._texts[text] = F.normalize(self._clip.encode_texts([text]).float(), dim=-1)[0]
            except InputError:
                self._texts[text] = None
        return self._texts[text]

    @torch.inference_mode()
    def encode(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        """(D,) of each picture, none of them kept."""
        squares = [middle_square(picture, self._clip.resolution) for picture in pictures]
        found: list[Tensor] = []
        for batch in unit_batches(squares, self._device):
            found += F.normalize(self._clip.encode_images(batch).float(), dim=-1)
        return found


@cache
def shared(device: str, model: str) -> ClipFeatures:
    """The one extractor of this process for a model on a device. Raises InputError as :class:`ClipFeatures`."""
    return ClipFeatures(device, model)


@cache
def shared_vectors(device: str, model: str) -> EncodedPictures[np.ndarray]:
    """(D,) float16 of unit length of each picture, for metrics of sets. Raises InputError as :class:`ClipFeatures`."""
    encode = shared(device, model).encode
    return EncodedPictures(lambda pictures: [each.half().cpu().numpy() for each in encode(pictures)])


def middle_square(picture: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: the short side brought to ``side`` by Pillow's bicubic filter, the long one cut alike."""
    height, width = picture.shape[:2]
    short = min(height, width)
    # rounded as torchvision's Resize and CenterCrop do
    size = (side, int(side * height / short)) if width <= height else (int(side * width / short), side)
    resized = codec.resize(picture, size, "bicubic")
    top, left = round((size[1] - side) / 2), round((size[0] - side) / 2)
    return resized[top : top + side, left : left + side]
