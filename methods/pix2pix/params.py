"""What a user can set on pix2pix."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from methods.base import MethodParams
from methods.cyclegan_turbo.params import check_image_prep


class Pix2PixParams(MethodParams):
    """Parameters of pix2pix.

    Attributes:
        image_prep: the size worked at, as of CycleGAN-Turbo.
    """

    image_prep: Annotated[str, AfterValidator(check_image_prep)] = "multiple_of_8"
