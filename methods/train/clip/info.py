"""The light description of the training of a small CLIP; imports no torch."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from methods.train.objective import ObjectiveInfo, ObjectiveParams

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=64, multiple_of=64)]
Count = Annotated[int, Field(ge=1)]


class ClipParams(ObjectiveParams):
    """Parameters of a small CLIP with a vision transformer, trained from nothing."""

    size: Annotated[int, Field(ge=16)] = 64
    """Side of the pictures, in pixels."""
    patch: Annotated[int, Field(ge=2)] = 8
    """Side of a patch, in pixels."""
    vision_width: Width = 128
    """Channels of the picture transformer; an attention head has 64."""
    vision_layers: Count = 4
    """Layers of the picture transformer."""
    text_width: Width = 64
    """Channels of the text transformer; an attention head has 64."""
    text_layers: Count = 2
    """Layers of the text transformer."""
    embedding: Width = 64
    """Length of the features that are compared."""
    sentences: str | None = None
    """A text file of sentences (URI) whose words become tokens, beside those of the bundled prompts."""
    vocabulary: Annotated[int, Field(ge=0)] = 600
    """Pairs of tokens that are merged, at most."""
    clauses: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How often a caption is shown as some of its parts between commas instead of whole."""
    templates: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How often a caption stands in one of CLIP's sentences ("a photo of the {}.") instead of alone."""
    flip: bool = True
    """Flip half of the pictures horizontally."""
    lr: Positive = 1e-3
    """Learning rate of AdamW after the warm-up; it then falls as a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of AdamW, on matrices alone."""
    warm_up: Count = 100
    """Steps over which the learning rate rises."""

    @model_validator(mode="after")
    def _whole_patches(self) -> ClipParams:
        if self.size % self.patch:
            raise ValueError(f"size is {self.size}, expected a multiple of patch, {self.patch}")
        return self


def _schedule(params: ClipParams, step: int, steps: int) -> float:
    """A rise in a line, then half a cosine to 0, as in the release."""
    if step < params.warm_up:
        return (step + 1) / params.warm_up
    done = (step - params.warm_up) / max(steps - params.warm_up, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


INFO = ObjectiveInfo(
    name="clip",
    summary="A small CLIP of a domain from pictures and captions, for DiffuseIT, Asyrp and metrics without a download.",
    paper="https://arxiv.org/abs/2103.00020",
    implementation="methods.train.clip.objective:ClipTraining",
    params=ClipParams,
    streams={"captioned": "pictures with captions"},
    steps=5_000,
    batch_size=64,
    schedule=_schedule,
)
