"""The light description of the CycleGAN-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo.params import TurboTrainParams, Weight, turbo_schedule


class CycleGANTurboTrainParams(TurboTrainParams):
    """Parameters of unpaired training, and of paired training of both directions; defaults are the published ones."""

    caption_a: str
    """Text prompt of domain A, the target of the reverse direction (b to a)."""
    caption_b: str
    """Text prompt of domain B, the target of the forward direction (a to b)."""
    rank_unet: Annotated[int, Field(ge=1)] = 128
    """LoRA rank of the UNet; its alpha equals the rank."""
    image_prep: Annotated[str, AfterValidator(check_crop)] = "resize_286_randomcrop_256x256_hflip"
    """How training images are resized and cropped: a preparation of the method, or with random crops and flips such
    as ``resize_286_randomcrop_256x256_hflip``."""
    lambda_cycle: Weight = 1.0
    """Weight of the L1 cycle-consistency loss."""
    lambda_cycle_lpips: Weight = 10.0
    """Weight of the perceptual cycle-consistency loss."""
    lambda_idt: Weight = 1.0
    """Weight of the L1 identity loss."""
    lambda_idt_lpips: Weight = 1.0
    """Weight of the perceptual identity loss."""
    lambda_rec: Weight = 0.0
    """Weight of the L1 reconstruction loss for paired data, between a translation and the sample's ``target``, its
    true counterpart. Needs ``joint``; the discriminators then compare with the targets, and the PatchGAN sees the
    source image as its condition."""
    lambda_rec_lpips: Weight = 0.0
    """Weight of the perceptual reconstruction loss for paired data, likewise."""
    autoencoder_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """First share of a run in which both directions learn to reproduce the images of both domains; for networks
    trained from scratch, which have no trained VAE."""
    max_grad_norm: Weight = 10.0
    """Norm that gradients are clipped to."""

    @model_validator(mode="after")
    def _fitting(self) -> CycleGANTurboTrainParams:
        if self.lambda_patch and not self.joint:
            raise ValueError("lambda_patch belongs to joint: true, the published order has one discriminator per side")
        if self.paired and not self.joint:
            raise ValueError("lambda_rec and lambda_rec_lpips belong to joint: true, the published order is unpaired")
        if self.joint and not any(
            (self.lambda_gan, self.lambda_patch, self.lambda_cycle, self.lambda_cycle_lpips, self.paired)
        ):
            raise ValueError("nothing moves the translations: give lambda_gan, lambda_patch or lambda_rec a weight")
        return self

    @property
    def paired(self) -> bool:
        """Whether every sample has its true counterpart in the other domain."""
        return bool(self.lambda_rec or self.lambda_rec_lpips)


INFO = ObjectiveInfo(
    name="cyclegan_turbo",
    summary="SD-Turbo adapted to translate between two sets, in both directions; no pairs needed.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.train.cyclegan_turbo.objective:CycleGANTurboTraining",
    params=CycleGANTurboTrainParams,
    streams={"a": "images of domain A", "b": "images of domain B"},
    pairs="both",
    steps=25_000,
    batch_size=4,
    schedule=turbo_schedule,
)
