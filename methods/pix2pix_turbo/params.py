"""What a user can set on pix2pix-Turbo."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from methods.base import MethodParams
from methods.cyclegan_turbo.params import check_image_prep


class Pix2PixTurboParams(MethodParams):
    """Parameters of pix2pix-Turbo.

    Attributes:
        input: what the model is shown: ``image`` as it is, its ``canny`` edges (white on black), or ``sketch``: one
            where the picture is darker than half, that is dark strokes on white paper.
        canny_low, canny_high: thresholds of OpenCV's Canny.
        gamma: 1 follows the input, 0 only the caption and the noise. For weights trained for it (TwinConv); none is
            the deterministic translation, on such weights the same as 1. A sample's column ``gamma`` wins over a number
            given here.
        caption: the text for every sample; none takes each sample's own, else the one the weights were trained with.
        base: the SD-Turbo an official ``.pkl`` sits on, and the text encoder for captions that our own files do not
            hold: hub id, folder, or URI.
        image_prep: as for CycleGAN-Turbo; the official script works at ``multiple_of_8``.
    """

    input: Literal["image", "canny", "sketch"] = "image"
    canny_low: Annotated[float, Field(ge=0)] = 100
    canny_high: Annotated[float, Field(ge=0)] = 200
    gamma: Annotated[float, Field(ge=0, le=1)] | None = None
    caption: str | None = None
    base: str = "stabilityai/sd-turbo"
    image_prep: Annotated[str, AfterValidator(check_image_prep)] = "multiple_of_8"
