"""The names of what :mod:`methods.nn.image_prep` does, as a parameter type; imports no torch."""

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


ImagePrep = Annotated[str, AfterValidator(check_image_prep)]
"""``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` or ``no_resize``."""

Lanczos = Literal["fast", "pillow"]
"""By whom a picture is resized: torch, or Pillow as the official programs do."""


class PreparingParams(MethodParams):
    """What the methods share that bring pictures to a size by ``image_prep``."""

    lanczos: Lanczos = "fast"
    """Who resizes for ``image_prep``: ``fast`` is torch, six times faster on a processor, whose pixels differ from
    Pillow's by one level (two at most) in less than 1 of 100 values; ``pillow`` gives the very pixels of the official
    programs."""
