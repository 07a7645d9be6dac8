"""The light descriptions of PITI's two objectives; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from methods.piti.config import OFFICIAL_BASE, OFFICIAL_UPSAMPLER, Family, ModelConfig
from methods.piti.params import FAMILIES, Condition, Respacing
from methods.train.objective import ObjectiveInfo, ObjectiveParams
from methods.uris import WeightsUri


def _stage(name: str):
    def check(model: ModelConfig) -> ModelConfig:
        if model.stage != name:
            raise ValueError(f"this objective trains a model of stage {name}, got {model.stage}")
        return model

    return AfterValidator(check)


class PITITrainingParams(ObjectiveParams):
    """Parameters of both trainings of PITI."""

    condition: Condition = "coco_stuff"
    """What the condition is, as for the method; ``canny`` and ``hed`` are computed from the image itself."""
    column: str = "seg.png"
    """Member or column with the condition, such as ``seg.png``; must be listed in ``data.pairs.masks``."""
    panoptic_json: WeightsUri | None = None
    """URI of the JSON annotations that belong to panoptic PNGs."""
    labels: dict[int, Annotated[int, Field(ge=0, le=255)]] | None = None
    """Mapping from your label ids to COCO-Stuff ids, instead of the built-in table."""
    canny_thresholds: tuple[float, float] = (100.0, 200.0)
    """Lower and upper hysteresis threshold of Canny, on 256 x 256 pixels."""
    depth_scale: Annotated[float, Field(gt=0)] = 0.001
    """Metres per unit of the depth map (0.001: millimetres)."""
    normals: str = "normal.png"
    """Member or column with the surface normals, for ``depth_normals``."""
    glide: WeightsUri | None = None
    """URI of GLIDE's own weights (``base.pt`` or ``upsample.pt``) to initialise the UNet from."""
    weights: WeightsUri | None = None
    """URI of a PITI model to start from: an official ``.pt`` or a file of ours."""
    lr: Annotated[float, Field(gt=0)] = 3.5e-5
    """Learning rate of AdamW, without weight decay."""
    flip: bool = True
    """Flip half of the samples horizontally."""
    preview_steps: Respacing = "25"
    """Steps of the images generated at validation, as a respacing string."""
    preview_guidance: Annotated[float, Field(ge=0)] = 1.3
    """Guidance scale of those images."""

    @property
    def family(self) -> Family:
        """The kind of model this condition needs."""
        return FAMILIES[self.condition]


class PITIBaseParams(PITITrainingParams):
    """Parameters of the base model's training in its two stages."""

    stage: Literal["encoder", "all"] = "all"
    """``encoder`` trains the condition encoder with the UNet frozen, ``all`` trains both."""
    model: Annotated[ModelConfig, _stage("base")] = OFFICIAL_BASE
    """Dimensions of the model; the released ones by default."""
    unconditional_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of conditions replaced by an all-ones image, for classifier-free guidance. Published: 0 for the first 200
    thousand steps of stage ``encoder``, then 0.2."""
    timesteps: Literal["loss_second_moment", "uniform"] = "loss_second_moment"
    """How timesteps are sampled."""


class PITIUpsamplerParams(PITITrainingParams):
    """Parameters of the upsampler's training on degraded images."""

    lr: Annotated[float, Field(gt=0)] = 1e-5
    """Learning rate of AdamW, without weight decay."""
    model: Annotated[ModelConfig, _stage("upsampler")] = OFFICIAL_UPSAMPLER
    """Dimensions of the model; the released ones by default."""
    small_side: Annotated[int, Field(ge=8)] = 64
    """Side of the image that is upsampled."""
    base: WeightsUri | None = None
    """URI of a file of ours whose base model is written into the exported file too."""
    perceptual_weight: Annotated[float, Field(ge=0)] = 0.004
    """Weight of the perceptual loss on the predicted image; 0: none."""
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the adversarial loss on the predicted image; 0: none."""
    perceptual: Literal["vgg19", "efficientnet_lite0"] = "vgg19"
    """Features of the perceptual loss: VGG19 (conv2_2, as published; from ``vgg``) or EfficientNet-Lite0
    (offline)."""
    vgg: WeightsUri = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    """URI of torchvision's VGG19."""
    critic_lr: Annotated[float, Field(gt=0)] = 1e-5
    """Learning rate of Adam for the PatchGAN discriminator."""
    extra_after: Annotated[int, Field(ge=0)] = 100
    """Steps of a run before those two losses begin."""

    @model_validator(mode="after")
    def _enlarges(self) -> PITIUpsamplerParams:
        if self.model.side not in (2 * self.small_side, 4 * self.small_side):
            raise ValueError(f"small_side {self.small_side} must be a half or a quarter of the side {self.model.side}")
        return self


_STREAMS = {"pairs": "images, each with its condition in a mask column"}

BASE = ObjectiveInfo(
    name="piti_base",
    summary="PITI's base model: a condition encoder before GLIDE's small-picture diffusion model.",
    paper="https://arxiv.org/abs/2205.12952",
    implementation="methods.train.piti.base:PITIBase",
    params=PITIBaseParams,
    streams=_STREAMS,
    pairs="condition",
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
    pairs="condition",
    steps=200_000,
    batch_size=4,
)
