"""The light description of pix2pix's training; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo, ObjectiveParams

Weight = Annotated[float, Field(ge=0)]


class Pix2PixTrainParams(ObjectiveParams):
    """Parameters of pix2pix's training; loss weights and optimizer as published."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Channels of the generator's first level."""
    levels: Annotated[int, Field(ge=1, le=6)] = 4
    """Levels of the generator; each halves the resolution."""
    discriminator_width: Annotated[int, Field(ge=8)] = 32
    """Channels of the discriminator's first layer."""
    lambda_l1: Weight = 100.0
    """Weight of the L1 loss."""
    lambda_gan: Weight = 1.0
    """Weight of the adversarial loss."""
    gan_from: Annotated[int, Field(ge=0)] = 0
    """Step at which the adversarial loss begins; before it only the L1 loss is trained."""
    lr: Annotated[float, Field(gt=0)] = 2e-4
    """Learning rate of Adam, for both networks."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """First beta of Adam; the second is 0.999."""
    image_prep: Annotated[str, AfterValidator(check_crop)] = "multiple_of_8"
    """How both images of a pair are resized and cropped: a preparation of the method, or with random crops and flips
    such as ``resize_286_randomcrop_256x256_hflip``."""


INFO = ObjectiveInfo(
    name="pix2pix",
    summary="A small U-Net learns pairs by absolute difference and a patch discriminator.",
    paper="https://arxiv.org/abs/1611.07004",
    implementation="methods.train.pix2pix.objective:Pix2PixTraining",
    params=Pix2PixTrainParams,
    streams={"pairs": "images, each with the true image of the other domain as target"},
    pairs="target",
    steps=20_000,
    batch_size=8,
)
