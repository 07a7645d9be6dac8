"""The light description of the pix2pix-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo.params import TurboTrainParams, Weight


class Pix2PixTurboTrainParams(TurboTrainParams):
    """Parameters of paired training; defaults are the published ones.

    Attributes:
        input: what the model is shown: ``image``: the sample's picture, its true counterpart being the sample's
            ``target``; ``canny`` or ``sketch``: made from the target, so that any set of pictures can be trained on.
        canny_low, canny_high: thresholds; a range (two numbers) draws each sample's own.
        caption: one text for all samples; none takes each sample's own.
        stochastic: train for gamma in [0, 1], drawn anew for every batch: LoRA, first layer, latents and skips are
            blended by it, and the reconstruction losses are multiplied by it (section 3.4 of the paper).
        rank_unet: LoRA rank of the UNet; its alpha is 8 at any rank.
        image_prep: how a pair is cut, both pictures alike.
        lambda_l2, lambda_lpips, lambda_clipsim: loss weights; ``lambda_clipsim: 0`` loads no CLIP for it.
        lambda_l1: of a mean absolute difference beside the squared one; the release has none.
        real_target: what the discriminator answers for real pictures.
        max_grad_norm: gradients are clipped to it.
    """

    input: Literal["image", "canny", "sketch"] = "image"
    canny_low: Weight | tuple[Weight, Weight] = 100
    canny_high: Weight | tuple[Weight, Weight] = 200
    caption: str | None = None
    stochastic: bool = False
    rank_unet: Annotated[int, Field(ge=1)] = 8
    image_prep: Annotated[str, AfterValidator(check_crop)] = "resize_512x512"
    lambda_l2: Weight = 1.0
    lambda_l1: Weight = 0.0
    lambda_lpips: Weight = 5.0
    lambda_clipsim: Weight = 5.0
    real_target: Annotated[float, Field(gt=0, le=1)] = 0.8
    max_grad_norm: Weight = 1.0

    @model_validator(mode="after")
    def _fitting(self) -> Pix2PixTurboTrainParams:
        if self.joint and self.stochastic:
            raise ValueError("joint: true has no gamma: set stochastic: false")
        if self.lambda_patch and not self.joint:
            raise ValueError("lambda_patch belongs to joint: true, the published order has one discriminator")
        return self


INFO = ObjectiveInfo(
    name="pix2pix_turbo",
    summary="SD-Turbo adapted to pairs: edges, sketches or any picture to its counterpart, by caption.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.train.pix2pix_turbo.objective:Pix2PixTurboTraining",
    params=Pix2PixTurboTrainParams,
    streams={"pairs": "pictures with their true counterpart as target (or alone, where edges are made from them)"},
    steps=10_000,
    batch_size=4,
)
