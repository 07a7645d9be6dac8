"""What can be set when PITI is trained; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from methods.piti.config import OFFICIAL_BASE, OFFICIAL_UPSAMPLER, Family, ModelConfig
from methods.piti.params import FAMILIES, Condition, Respacing
from methods.train.objective import ObjectiveInfo, ObjectiveParams


def _stage(name: str):
    def check(model: ModelConfig) -> ModelConfig:
        if model.stage != name:
            raise ValueError(f"this objective trains a model of stage {name}, got {model.stage}")
        return model

    return AfterValidator(check)


class PITITrainingParams(ObjectiveParams):
    """What both trainings of PITI take.

    Attributes:
        condition: what the condition is, as for the method; ``canny`` and ``hed`` are drawn from the picture itself.
        column: member or column with the condition (``seg.png``), listed in ``data.pairs.masks``.
        panoptic_json, labels, canny_thresholds, depth_scale, normals: as for the method.
        glide: URI of GLIDE's own weights (``base.pt`` or ``upsample.pt``) for the UNet to start from.
        weights: URI of a PITI model to start from: an official ``.pt`` or a file of ours.
        lr: AdamW without weight decay.
        flip: whether half of the samples are mirrored.
        preview_steps: respacing of the pictures that validation draws.
        preview_guidance: their guidance scale.
    """

    condition: Condition = "coco_stuff"
    column: str = "seg.png"
    panoptic_json: str | None = None
    labels: dict[int, Annotated[int, Field(ge=0, le=255)]] | None = None
    canny_thresholds: tuple[float, float] = (100.0, 200.0)
    depth_scale: Annotated[float, Field(gt=0)] = 0.001
    normals: str = "normal.png"
    glide: str | None = None
    weights: str | None = None
    lr: Annotated[float, Field(gt=0)] = 3.5e-5
    flip: bool = True
    preview_steps: Respacing = "25"
    preview_guidance: Annotated[float, Field(ge=0)] = 1.3

    @property
    def family(self) -> Family:
        """The kind of model this condition needs."""
        return FAMILIES[self.condition]


class PITIBaseParams(PITITrainingParams):
    """Training of the base model in its two stages.

    Attributes:
        stage: ``encoder`` trains the condition encoder with the UNet frozen, ``all`` trains both.
        model: dimensions; the released ones by default.
        unconditional_share: of the conditions, replaced by the all-ones picture, so that guidance works. Published: 0
            for the first 200 thousand steps of stage ``encoder``, then 0.2.
        timesteps: how they are drawn.
    """

    stage: Literal["encoder", "all"] = "all"
    model: Annotated[ModelConfig, _stage("base")] = OFFICIAL_BASE
    unconditional_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    timesteps: Literal["loss_second_moment", "uniform"] = "loss_second_moment"


class PITIUpsamplerParams(PITITrainingParams):
    """Training of the upsampler on degraded pictures.

    Attributes:
        model: dimensions; the released ones by default.
        small_side: side of the picture that is enlarged.
        base: URI of a file of ours whose base model goes into the exported file too.
        perceptual_weight, adversarial_weight: of the losses on the predicted picture; 0 leaves a loss out.
        perceptual: features of VGG19 (conv2_2, as published; from ``vgg``) or of EfficientNet-Lite0 (offline).
        vgg: URI of torchvision's ImageNet weights of VGG19.
        critic_lr: Adam of the PatchGAN critic.
        extra_after: steps of a run before those two losses begin.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-5
    model: Annotated[ModelConfig, _stage("upsampler")] = OFFICIAL_UPSAMPLER
    small_side: Annotated[int, Field(ge=8)] = 64
    base: str | None = None
    perceptual_weight: Annotated[float, Field(ge=0)] = 0.004
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.01
    perceptual: Literal["vgg19", "efficientnet_lite0"] = "vgg19"
    vgg: str = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    critic_lr: Annotated[float, Field(gt=0)] = 1e-5
    extra_after: Annotated[int, Field(ge=0)] = 100

    @model_validator(mode="after")
    def _enlarges(self) -> PITIUpsamplerParams:
        if self.model.side not in (2 * self.small_side, 4 * self.small_side):
            raise ValueError(f"small_side {self.small_side} must be a half or a quarter of the side {self.model.side}")
        return self


_STREAMS = {"pairs": "pictures, each with its condition in a mask column"}

BASE = ObjectiveInfo(
    name="piti_base",
    summary="PITI's base model: a condition encoder before GLIDE's small-picture diffusion model.",
    paper="https://arxiv.org/abs/2205.12952",
    implementation="methods.train.piti.base:PITIBase",
    params=PITIBaseParams,
    streams=_STREAMS,
    steps=200_000,
    batch_size=128,
)

UPSAMPLER = ObjectiveInfo(
    name="piti_upsampler",
    summary="PITI's upsampler: degraded small pictures back to sharp ones, with perceptual and adversarial losses.",
    paper="https://arxiv.org/abs/2205.12952",
    implementation="methods.train.piti.upsampler:PITIUpsampler",
    params=PITIUpsamplerParams,
    streams=_STREAMS,
    steps=200_000,
    batch_size=4,
)
