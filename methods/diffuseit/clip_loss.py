"""The directional CLIP loss over an ensemble (equations 11 and 12; what the official code computes)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.diffuseit.cuts import Cuts, apply_cuts, resized
from methods.nn.clip import Clip, imagenet_templates

_SOURCE_TEXT = 0.4
_SOURCE_PICTURE = 0.2

CutsOf = Callable[[int], Cuts | None]
"""The cuts of one call for the model of this number; none: the whole picture."""


class ClipEnsemble:
    """Several CLIPs that pull pictures from a source text to a prompt.

    Args:
        models: frozen.
        prompt, source: what to make, and what the pictures show; embedded once, in 79 sentences each.
    """

    def __init__(self, models: Sequence[Clip], prompt: str, source: str) -> None:
        self.models = list(models)
        self.texts = [_embed(model, prompt) - _SOURCE_TEXT * _embed(model, source) for model in models]

    def targets(self, images: Tensor) -> list[Tensor]:
        """(B, D) unit target of each model for (B, 3, S, S) source pictures in [-1, 1]."""
        return [
            F.normalize(text + _SOURCE_PICTURE * _whole(model, images), dim=-1)
            for model, text in zip(self.models, self.texts, strict=True)
        ]

    def loss(self, images: Tensor, targets: Sequence[Tensor], cuts_of: CutsOf) -> Tensor:
        """(B,) mean over the models of minus the mean of the cuts' unit features along the target."""
        unit = images * 0.5 + 0.5
        total = torch.zeros(len(images), device=images.device)
        for number, (model, target) in enumerate(zip(self.models, targets, strict=True)):
            cuts = cuts_of(number)
            views = resized(unit, model.resolution) if cuts is None else apply_cuts(unit, cuts, model.resolution)
            features = F.normalize(model.encode_images(views), dim=-1)
            # each cut's features have length 1; their mean is not made so again
            mean = features.unflatten(0, (len(images), -1)).mean(dim=1)
            total = total - (mean * target).sum(dim=-1)
        return total / len(self.models)


def _embed(model: Clip, text: str) -> Tensor:
    features = model.encode_texts([sentence.format(text) for sentence in imagenet_templates()])
    return F.normalize(features.mean(dim=0, keepdim=True), dim=-1)


@torch.no_grad()
def _whole(model: Clip, images: Tensor) -> Tensor:
    return F.normalize(model.encode_images(resized(images * 0.5 + 0.5, model.resolution)), dim=-1)
