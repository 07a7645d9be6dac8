"""The parameters of CycleGAN-Turbo."""

from __future__ import annotations

from typing import Literal

from methods.nn.image_prep_names import ImagePrep, PreparingParams
from methods.uris import WeightsUri


class CycleGANTurboParams(PreparingParams):
    """Parameters of CycleGAN-Turbo."""

    direction: Literal["a2b", "b2a"] = "a2b"
    """Which of the two translations the weights were trained for: ``a2b`` (forward) or ``b2a`` (reverse)."""
    caption: str | None = None
    """Text prompt of the target domain. None: the one stored in the weights; an official ``.pkl`` stores none."""
    base: WeightsUri = "stabilityai/sd-turbo"
    """The SD-Turbo model that an official ``.pkl`` adapts: hub id, folder or URI. Our own files do not need it."""
    image_prep: ImagePrep = "resize_512x512"
    """Size that the model works at: ``resize_WxH`` or ``resize_N`` (Lanczos, aspect ratio not kept),
    ``resized_crop_N`` (shorter side to N, then the centre square), ``multiple_of_8`` (sides reduced to the next
    multiple of 8) or ``no_resize`` (images of other sizes are rejected)."""
