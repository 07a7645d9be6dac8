"""The light description of the CycleGAN-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo.params import TurboTrainParams, Weight


class CycleGANTurboTrainParams(TurboTrainParams):
    """Parameters of unpaired training, and of paired training of both directions; defaults are the published ones.

    Attributes:
        caption_a, caption_b: the text of each domain: a to b is conditioned on ``caption_b``.
        rank_unet: LoRA rank of the UNet; its alpha is the rank.
        image_prep: how training pictures are cut: ``resize_286_randomcrop_256x256_hflip`` and its like, or a
            preparation of the method.
        lambda_cycle, lambda_cycle_lpips, lambda_idt, lambda_idt_lpips: loss weights.
        lambda_rec, lambda_rec_lpips: weights of the reconstruction loss, for paired data: mean absolute difference and
            perceptual distance between a translation and the sample's ``target``, its true counterpart in the other
            domain. Needs ``joint``; the discriminators then compare with the targets, and the PatchGAN sees the source
            picture as its condition.
        autoencoder_share: first share of a run in which both directions learn to reproduce the pictures of both
            domains: networks from nothing have no finished VAE to start from.
        max_grad_norm: gradients are clipped to it.
    """

    caption_a: str
    caption_b: str
    rank_unet: Annotated[int, Field(ge=1)] = 128
    image_prep: Annotated[str, AfterValidator(check_crop)] = "resize_286_randomcrop_256x256_hflip"
    lambda_cycle: Weight = 1.0
    lambda_cycle_lpips: Weight = 10.0
    lambda_idt: Weight = 1.0
    lambda_idt_lpips: Weight = 1.0
    lambda_rec: Weight = 0.0
    lambda_rec_lpips: Weight = 0.0
    autoencoder_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_grad_norm: Weight = 10.0

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
    streams={"a": "pictures of domain A", "b": "pictures of domain B"},
    steps=25_000,
    batch_size=4,
)
