"""The light description of the CycleGAN-Turbo objective; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo
from methods.train.turbo.params import TurboTrainParams, Weight

_Class = Annotated[int, Field(ge=0, le=254)]


class CycleGANTurboTrainParams(TurboTrainParams):
    """Parameters of unpaired training; defaults are the published ones.

    Attributes:
        caption_a, caption_b: the text of each domain: a to b is told ``caption_b``.
        rank_unet: LoRA rank of the UNet; its alpha is the rank.
        image_prep: how training pictures are cut: ``resize_286_randomcrop_256x256_hflip`` and its like, or a
            preparation of the method.
        scales: by how much the pictures of an iteration are averaged, in turn: ``[1, 2]`` trains on whole and on half
            sizes of the same pictures. ``tone_shrink`` is that of the whole ones.
        lambda_cycle, lambda_cycle_lpips, lambda_idt, lambda_idt_lpips: loss weights.
        cycle_every, identity_every: iterations from one cycle or identity loss to the next, where training is
            ``joint``.
        labels: the samples' label map (``seg.png``). The PatchGANs of ``lambda_patch`` see it beside the picture, both
            domains' pictures with their own: labels stay where they were because a judge looks at them; and
            ``lambda_tone`` is about it.
        label_classes: how many classes those maps have, counted from 0; higher numbers are of no class.
        lambda_tone: weight of the distance between a translation's tones and those that its annotations let one expect
            in the other domain (``methods.train.cyclegan_turbo.tone``); needs ``labels``.
        tone_maps: other maps of the samples that tell of it beside the labels, 8 or 16 bit: a line drawing, depth.
        tone_shrink: by how much pictures are averaged for that.
        tone_coarser: by how much more they are averaged where a translation is drawn to them: beside judges that shall
            have their way with windows and leaves.
        tone_detail: weight, as a share of ``lambda_tone``, of the same distance between the pictures as they are: it
            takes contrast from what the labels cannot tell; 1 blurs.
        tone_weights: by class, how many times its pixels count in that: what is small and matters. 1 if not named.
        carry_a2b, carry_b2a: classes whose surfaces look alike in both domains, by direction. What is expected of such
            pixels takes along how much lighter or redder they are than their like: cars keep their colours. Leave out
            what differs by light alone: roads with shadows; facades from night to day, for their lit windows.
        carry_share: how much of that goes over, as an exponent.
        lambda_keep: weight of the distance between a translation's detail, all that is finer than ``tone_shrink``, and
            the detail of the weights that training goes on from (``continue_from``): for a last stage, which draws the
            tones right with the judges' weights at 0 and would blur without it.
        keep_contrast: share of that detail's contrast that is wanted.
        autoencoder_share: first share of a run in which both directions learn to pass the pictures of both domains
            through: networks from nothing have no finished VAE to start from.
        max_grad_norm: gradients are clipped to it.
    """

    caption_a: str
    caption_b: str
    rank_unet: Annotated[int, Field(ge=1)] = 128
    image_prep: Annotated[str, AfterValidator(check_crop)] = "resize_286_randomcrop_256x256_hflip"
    scales: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1)] = (1,)
    lambda_cycle: Weight = 1.0
    lambda_cycle_lpips: Weight = 10.0
    lambda_idt: Weight = 1.0
    lambda_idt_lpips: Weight = 1.0
    cycle_every: Annotated[int, Field(ge=1)] = 1
    identity_every: Annotated[int, Field(ge=1)] = 1
    labels: str | None = None
    label_classes: Annotated[int, Field(ge=1, le=255)] = 19
    lambda_tone: Weight = 0.0
    tone_maps: tuple[str, ...] = ()
    tone_shrink: Annotated[int, Field(ge=1, le=16)] = 4
    tone_coarser: Annotated[int, Field(ge=1, le=16)] = 1
    tone_detail: Annotated[float, Field(ge=0, le=1)] = 0.0
    tone_weights: dict[_Class, Weight] = Field(default_factory=dict)
    carry_a2b: tuple[_Class, ...] = ()
    carry_b2a: tuple[_Class, ...] = ()
    carry_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    lambda_keep: Weight = 0.0
    keep_contrast: Annotated[float, Field(ge=0, le=1)] = 1.0
    autoencoder_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_grad_norm: Weight = 10.0

    @model_validator(mode="after")
    def _fitting(self) -> CycleGANTurboTrainParams:
        if self.lambda_patch and not self.joint:
            raise ValueError("lambda_patch belongs to joint: true, the published order has one discriminator a domain")
        if self.labels is not None and not (self.lambda_patch or self.lambda_tone):
            raise ValueError("labels are for lambda_patch and lambda_tone: give one of them a weight")
        if self.lambda_tone and self.labels is None:
            raise ValueError("lambda_tone is about labels: name the label map in labels")
        if (self.lambda_tone or self.lambda_keep) and not self.joint:
            raise ValueError("lambda_tone and lambda_keep belong to joint: true")
        if (self.lambda_tone or self.lambda_keep) and any(self.tone_shrink % scale for scale in self.scales):
            raise ValueError(
                f"tone_shrink {self.tone_shrink} is no multiple of every one of scales {list(self.scales)}"
            )
        if self.tone_maps and not self.lambda_tone:
            raise ValueError("tone_maps are for lambda_tone: give it a weight")
        named = {*self.carry_a2b, *self.carry_b2a, *self.tone_weights}
        if named and not self.lambda_tone:
            raise ValueError("carry_a2b, carry_b2a and tone_weights are for lambda_tone: give it a weight")
        if named and max(named) >= self.label_classes:
            raise ValueError(f"there is no class {max(named)}, label_classes is {self.label_classes}")
        if self.joint and not any(
            (self.lambda_gan, self.lambda_patch, self.lambda_cycle, self.lambda_cycle_lpips, self.lambda_tone)
        ):
            raise ValueError("nothing moves the translations: give lambda_gan, lambda_patch or lambda_tone a weight")
        return self

    @property
    def judged_classes(self) -> int:
        """Channels that the patch judges see beside a picture."""
        return 0 if self.labels is None else self.label_classes


INFO = ObjectiveInfo(
    name="cyclegan_turbo",
    summary="SD-Turbo adapted to translate between two unpaired sets, in both directions.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.train.cyclegan_turbo.objective:CycleGANTurboTraining",
    params=CycleGANTurboTrainParams,
    streams={"a": "pictures of domain A", "b": "pictures of domain B"},
    steps=25_000,
    batch_size=4,
)
