"""What a user can set on CycleGAN-Turbo."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from methods.base import MethodParams

_RESIZE = re.compile(r"resize_(\d+)(?:x(\d+))?")
_CROP = re.compile(r"resized_crop_(\d+)")
_FORMS = (
    "no_resize, multiple_of_8, resize_N, resize_WxH or resized_crop_N with sides that are multiples of 8 up to 8192"
)


def check_image_prep(name: str) -> str:
    """``name`` if it is one of the preparations; ValueError naming them if not."""
    if name in ("no_resize", "multiple_of_8"):
        return name
    match = _RESIZE.fullmatch(name) or _CROP.fullmatch(name)
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or any(side % 8 or not 8 <= side <= 8192 for side in sides):
        raise ValueError(f"unknown image_prep '{name}', expected {_FORMS}")
    return name


class CycleGANTurboParams(MethodParams):
    """Parameters of CycleGAN-Turbo.

    Attributes:
        direction: which of the two translations; it picks the VAE.
        caption: the text of the target domain; none takes the one stored in the weights. An official file stores none.
        base: the SD-Turbo an official ``.pkl`` sits on: hub id, folder, or URI. Our own files need none.
        image_prep: size the model works at: ``resize_WxH`` or ``resize_N`` (Lanczos, aspect ratio not kept),
            ``resized_crop_N`` (shorter side to N, centre square), ``multiple_of_8`` (sides down to the next multiple of
            8), ``no_resize`` (other sizes are rejected).
    """

    direction: Literal["a2b", "b2a"] = "a2b"
    caption: str | None = None
    base: str = "stabilityai/sd-turbo"
    image_prep: Annotated[str, AfterValidator(check_image_prep)] = "resize_512x512"
