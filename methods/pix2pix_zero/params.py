"""The parameters of pix2pix-zero."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from methods.nn.image_prep_names import ImagePrep, PreparingParams
from methods.pix2pix_zero.prompts import bundled_prompts
from methods.uris import UriMark, WeightsUri

Concept = Annotated[WeightsUri, UriMark(frozenset(bundled_prompts()))]
"""The name of a bundled list of sentences, or the URI of another one or of embeddings."""


class Pix2PixZeroParams(PreparingParams):
    """Parameters of pix2pix-zero; defaults are those of the release."""

    mode: Literal["real", "synthetic"] = "real"
    """``real`` inverts the image and edits it; ``synthetic`` generates an image of the caption from the sample's noise
    and edits that (only the size of the source image is used)."""
    source: Concept | None = None
    """The concept to replace: a bundled list of sentences (``cat``, ``day``, ``night``, ...), a ``.txt`` file with one
    sentence per line, or a file of text embeddings (``.pt``, ``.safetensors``)."""
    target: Concept | None = None
    """The concept to replace it with, given like ``source``."""
    direction: WeightsUri | None = None
    """A file written by ``sceneshift directions make``, instead of ``source`` and ``target``."""
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Factor on the edit direction."""
    caption: str | None = None
    """What the images show, for all samples. None: each sample's own caption, or the captioner's."""
    captioner: WeightsUri | None = None
    """A BLIP model that captions each image: hub id, folder or URI."""
    negative_prompt: str | None = None
    """Prompt of the unconditional pass. None: the caption itself for real images (that pass then reconstructs the
    image), an empty prompt for synthetic ones."""
    steps: Annotated[int, Field(ge=3, le=999)] = 50
    """DDIM steps of the edit; the inversion takes two fewer."""
    guidance_amount: Annotated[float, Field(ge=0)] | None = None
    """Step size of the cross-attention guidance. None: 0.1 for real images, 0.15 for synthetic ones."""
    guidance_scale: Annotated[float, Field(gt=1)] = 5.0
    """Classifier-free guidance scale of the edit; at 1 or below the direction would have no effect."""
    inversion_guidance_scale: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance scale of the inversion; 1, the scripts' value, uses the caption alone."""
    inversion_negative_prompt: str = ""
    """Prompt of the inversion's unconditional pass, where ``inversion_guidance_scale`` is over 1."""
    lambda_autocorrelation: Annotated[float, Field(ge=0)] = 20.0
    """Weight of the autocorrelation loss that keeps the noise of the inversion white."""
    lambda_divergence: Annotated[float, Field(ge=0)] = 20.0
    """Weight of the KL divergence between the noise of the inversion and a standard normal distribution."""
    regularisation_rounds: Annotated[int, Field(ge=0)] = 5
    """Regularisation steps per step of the inversion; 0 turns it off."""
    regularisation_shifts: Annotated[int, Field(ge=1)] = 5
    """Random shifts per regularisation step at which the autocorrelation is measured."""
    image_prep: ImagePrep = "resize_512x512"
    """Size that the model works at: ``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` or
    ``no_resize``."""

    @model_validator(mode="after")
    def _one_way_of_each(self) -> Pix2PixZeroParams:
        if self.direction is not None and (self.source is not None or self.target is not None):
            raise ValueError("set either direction, or source and target")
        if self.direction is None and (self.source is None or self.target is None):
            raise ValueError("set source and target (or direction): what the edit turns into what")
        if self.caption is not None and self.captioner is not None:
            raise ValueError("set either caption or captioner")
        return self
