"""What a user can set on pix2pix-zero."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from methods.base import MethodParams
from methods.cyclegan_turbo.params import check_image_prep


class Pix2PixZeroParams(MethodParams):
    """Parameters of pix2pix-zero.

    Attributes:
        mode: ``real`` inverts the picture and edits it; ``synthetic`` paints the caption from the sample's noise and
            edits that (of the picture only the size is used).
        source, target: the two concepts, each a file of embeddings (``.pt`` as the release's, ``.safetensors``), a file
            of sentences (``.txt``), or the name of a bundled bank of sentences (``cat``, ``day``, ``night``, ...).
        direction: a file of ``sceneshift directions make``, in place of ``source`` and ``target``.
        strength: factor on the direction.
        caption: what the picture shows, for all samples. None: the samples' own captions, or the captioner's.
        captioner: a BLIP model (hub id, folder, URI) that captions every picture.
        negative_prompt: None takes the caption itself for real pictures (which makes the unguided pass a
            reconstruction) and an empty one for synthetic pictures.
        steps: DDIM steps of inversion and edit; the inversion runs two fewer.
        guidance_amount: length of the step along the gradient of the attention maps. None: 0.1 real, 0.15 synthetic.
        guidance_scale: classifier-free guidance of the edit. At 1 or below the direction would have no effect.
        lambda_autocorrelation, lambda_divergence, regularisation_rounds, regularisation_shifts: how the inversion
            keeps noise white.
        image_prep: the size worked at, as of CycleGAN-Turbo.
    """

    mode: Literal["real", "synthetic"] = "real"
    source: str | None = None
    target: str | None = None
    direction: str | None = None
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0
    caption: str | None = None
    captioner: str | None = None
    negative_prompt: str | None = None
    steps: Annotated[int, Field(ge=3, le=999)] = 50
    guidance_amount: Annotated[float, Field(ge=0)] | None = None
    guidance_scale: Annotated[float, Field(gt=1)] = 5.0
    lambda_autocorrelation: Annotated[float, Field(ge=0)] = 20.0
    lambda_divergence: Annotated[float, Field(ge=0)] = 20.0
    regularisation_rounds: Annotated[int, Field(ge=0)] = 5
    regularisation_shifts: Annotated[int, Field(ge=1)] = 5
    image_prep: Annotated[str, AfterValidator(check_image_prep)] = "resize_512x512"

    @model_validator(mode="after")
    def _one_way_of_each(self) -> Pix2PixZeroParams:
        if self.direction is not None and (self.source is not None or self.target is not None):
            raise ValueError("set either direction, or source and target")
        if self.direction is None and (self.source is None or self.target is None):
            raise ValueError("set source and target (or direction): what the edit turns into what")
        if self.caption is not None and self.captioner is not None:
            raise ValueError("set either caption or captioner")
        return self
