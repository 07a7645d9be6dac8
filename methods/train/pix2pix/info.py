"""The light description of pix2pix's training; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from methods.train.crops import check_crop
from methods.train.objective import ObjectiveInfo, ObjectiveParams

Weight = Annotated[float, Field(ge=0)]


class Pix2PixTrainParams(ObjectiveParams):
    """Parameters of pix2pix's training; loss weights and optimizer as published.

    Attributes:
        width, levels: of the generator, see :class:`methods.pix2pix.network.UNetGenerator`.
        discriminator_width: of the discriminator.
        lambda_l1, lambda_gan: weights of the absolute difference and of the adversarial loss.
        gan_from: the step from which the discriminator counts; before it only the difference is learned.
        lr, beta1: Adam's, for both networks; beta2 is 0.999.
        image_prep: how both pictures of a pair are cut.
    """

    width: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    levels: Annotated[int, Field(ge=1, le=6)] = 4
    discriminator_width: Annotated[int, Field(ge=8)] = 32
    lambda_l1: Weight = 100.0
    lambda_gan: Weight = 1.0
    gan_from: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0)] = 2e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    image_prep: Annotated[str, AfterValidator(check_crop)] = "multiple_of_8"


INFO = ObjectiveInfo(
    name="pix2pix",
    summary="A small U-Net learns pairs by absolute difference and a patch discriminator.",
    paper="https://arxiv.org/abs/1611.07004",
    implementation="methods.train.pix2pix.objective:Pix2PixTraining",
    params=Pix2PixTrainParams,
    streams={"pairs": "pictures with the true picture of the other domain as target"},
    steps=20_000,
    batch_size=8,
)
