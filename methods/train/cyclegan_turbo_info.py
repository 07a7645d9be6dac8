"""The light description of the CycleGAN-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo_params import TurboTrainParams, Weight


class CycleGANTurboTrainParams(TurboTrainParams):
    """Parameters of unpaired training; defaults are the published ones.

    Attributes:
        caption_a, caption_b: the text of each domain: a to b is told ``caption_b``.
        rank_unet: LoRA rank of the UNet; its alpha is the rank.
        image_prep: how training pictures are cut: ``resize_286_randomcrop_256x256_hflip`` and its like, or a
            preparation of the method.
        lambda_cycle, lambda_cycle_lpips, lambda_idt, lambda_idt_lpips: loss weights.
        cycle_every, identity_every: iterations from one cycle or identity loss to the next, where training is
            ``joint``.
        patch_labels: the samples' label map (``seg.png``) that the PatchGANs of ``lambda_patch`` see beside a picture,
            both domains' pictures with their own: labels stay where they were because a judge looks at them.
        lambda_tone: weight of the distance between a translation's coarse tones and those that its labels let one
            expect in the other domain (``methods.train.tone``); needs ``patch_labels``.
        tone_shrink: by how much pictures are averaged for that.
        tone_detail: weight, as a share of ``lambda_tone``, of the same distance between the pictures as they are: it
            takes contrast from what the labels cannot tell; 1 blurs.
        patch_classes: how many classes those maps have, counted from 0; higher numbers are of no class.
        autoencoder_share: first share of a run in which both directions learn to pass the pictures of both domains
            through: networks from nothing have no finished VAE to start from.
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
    cycle_every: Annotated[int, Field(ge=1)] = 1
    identity_every: Annotated[int, Field(ge=1)] = 1
    patch_labels: str | None = None
    lambda_tone: Weight = 0.0
    tone_shrink: Annotated[int, Field(ge=1, le=16)] = 4
    tone_detail: Annotated[float, Field(ge=0, le=1)] = 0.0
    patch_classes: Annotated[int, Field(ge=1, le=255)] = 19
    autoencoder_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_grad_norm: Weight = 10.0

    @model_validator(mode="after")
    def _fitting(self) -> CycleGANTurboTrainParams:
        if self.lambda_patch and not self.joint:
            raise ValueError("lambda_patch belongs to joint: true, the published order has one discriminator a domain")
        if self.patch_labels is not None and not self.lambda_patch:
            raise ValueError("patch_labels are for the judges that lambda_patch makes: give it a weight")
        if self.lambda_tone and self.patch_labels is None:
            raise ValueError("lambda_tone is about labels: name the label map in patch_labels")
        return self

    @property
    def judged_classes(self) -> int:
        """Channels that the patch judges see beside a picture."""
        return 0 if self.patch_labels is None else self.patch_classes


INFO = ObjectiveInfo(
    name="cyclegan_turbo",
    summary="SD-Turbo adapted to translate between two unpaired sets, in both directions.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.train.cyclegan_turbo:CycleGANTurboTraining",
    params=CycleGANTurboTrainParams,
    streams={"a": "pictures of domain A", "b": "pictures of domain B"},
    steps=25_000,
    batch_size=4,
)
