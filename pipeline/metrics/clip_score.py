"""How well pictures fit a text, and whether they moved as the text did, by CLIP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.network_params import ClipDirectionParams, ClipScoreParams

if TYPE_CHECKING:
    import torch

    from pipeline.metrics.clip_features import ClipFeatures


class _OfClip:
    def __init__(self, device: str | torch.device, model: str) -> None:
        self._device, self._model = str(device), model

    def load(self) -> ClipFeatures:
        """Put the network on the device. Raises InputError: weights that do not fit."""
        # Imported here, as finalise builds every metric and needs no network for it.
        from pipeline.metrics.clip_features import shared

        return shared(self._device, self._model)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


class ClipScore(_OfClip):
    """``clip_score``: 100 times the cosine of picture and text, at least 0 (Hessel et al. 2021; so torchmetrics).

    nan without a text, or with one that is longer than CLIP's 77 tokens.
    """

    name: ClassVar[str] = "clip_score"
    columns: ClassVar[tuple[str, ...]] = ("clip_score",)

    def __init__(self, device: str | torch.device = "cpu", params: ClipScoreParams | None = None) -> None:
        self._params = params or ClipScoreParams()
        super().__init__(device, self._params.model)

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample."""
        texts = _texts(self._params.text, pictures.caption, len(pictures))
        if not any(texts):
            return Measured({"clip_score": [math.nan] * len(pictures)})
        clip = self.load()
        found = []
        for picture, text in zip(clip.pictures.of(pictures, "output"), texts, strict=True):
            said = clip.text(text) if text else None
            found.append(math.nan if picture is None or said is None else max(100 * float(picture @ said), 0.0))
        return Measured({"clip_score": found})


class ClipDirection(_OfClip):
    """``clip_direction``: the cosine of the pictures' change and the texts' change, -1 to 1.

    The change is the difference of unit features, output minus source (Gal et al. 2021; as InstructPix2Pix measures
    it). nan without two texts that differ, with one of more than 77 tokens, and for a picture that did not change.
    """

    name: ClassVar[str] = "clip_direction"
    columns: ClassVar[tuple[str, ...]] = ("clip_direction",)

    def __init__(self, device: str | torch.device = "cpu", params: ClipDirectionParams | None = None) -> None:
        self._params = params or ClipDirectionParams()
        super().__init__(device, self._params.model)

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample."""
        before = _texts(self._params.source, pictures.source_caption, len(pictures))
        after = _texts(self._params.target, pictures.caption, len(pictures))
        if not any(a and b and a != b for a, b in zip(before, after, strict=True)):
            return Measured({"clip_direction": [math.nan] * len(pictures)})
        clip = self.load()
        encoded = zip(clip.pictures.of(pictures, "source"), clip.pictures.of(pictures, "output"), strict=True)
        found = []
        for (source, output), one, other in zip(encoded, before, after, strict=True):
            a, b = (clip.text(text) if text else None for text in (one, other))
            if source is None or output is None or a is None or b is None:
                found.append(math.nan)
                continue
            picture, text = output - source, b - a
            length = float(picture.norm() * text.norm())
            found.append(float(picture @ text) / length if length > 1e-8 else math.nan)
        return Measured({"clip_direction": found})


def _texts(fixed: str | None, captions: Sequence[str | None], count: int) -> list[str | None]:
    if fixed is not None:
        return [fixed] * count
    return list(captions) or [None] * count
