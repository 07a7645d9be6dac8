"""The light description of the pix2pix-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo.params import TurboTrainParams, Weight, turbo_schedule


class Pix2PixTurboTrainParams(TurboTrainParams):
    """Parameters of paired training; defaults are the published ones."""

    input: Literal["image", "canny", "sketch"] = "image"
    """What the model gets: ``image``: the sample's image, with its true counterpart as the sample's ``target``;
    ``canny`` or ``sketch``: computed from the target, so that any set of images can be trained on."""
    canny_low: Weight | tuple[Weight, Weight] = 100
    """Lower threshold of Canny; with two numbers, each sample draws its own from that range."""
    canny_high: Weight | tuple[Weight, Weight] = 200
    """Upper threshold of Canny, likewise."""
    caption: str | None = None
    """Text prompt for all samples. None: each sample's own caption."""
    stochastic: bool = False
    """Train for gamma in [0, 1], drawn per batch: it blends LoRA, first layer, latents and skip connections, and
    multiplies the reconstruction losses (section 3.4 of the paper)."""
    rank_unet: Annotated[int, Field(ge=1)] = 8
    """LoRA rank of the UNet; its alpha is 8 at any rank."""
    image_prep: Annotated[str, AfterValidator(check_crop)] = "resize_512x512"
    """How both images of a pair are resized and cropped: a preparation of the method, or with random crops and flips
    such as ``resize_286_randomcrop_256x256_hflip``."""
    lambda_l2: Weight = 1.0
    """Weight of the L2 reconstruction loss."""
    lambda_l1: Weight = 0.0
    """Weight of an L1 reconstruction loss; the release has none."""
    lambda_lpips: Weight = 5.0
    """Weight of the perceptual reconstruction loss."""
    lambda_clipsim: Weight = 5.0
    """Weight of the CLIP similarity of output and caption; 0 loads no CLIP for it."""
    real_target: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Label of real images in the discriminator loss (label smoothing)."""
    max_grad_norm: Weight = 1.0
    """Norm that gradients are clipped to."""

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
    pairs="target",
    steps=10_000,
    batch_size=4,
    schedule=turbo_schedule,
)
