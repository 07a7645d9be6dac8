"""The parameters of pix2pix-Turbo."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from methods.nn.image_prep_names import ImagePrep, PreparingParams
from methods.uris import WeightsUri


class Pix2PixTurboParams(PreparingParams):
    """Parameters of pix2pix-Turbo."""

    input: Literal["image", "canny", "sketch"] = "image"
    """What the model gets: the ``image`` itself, its ``canny`` edges (white on black), or a ``sketch``: 1 where the
    image is darker than half, for dark strokes on white paper."""
    canny_low: Annotated[float, Field(ge=0)] = 100
    """Lower hysteresis threshold of OpenCV's Canny."""
    canny_high: Annotated[float, Field(ge=0)] = 200
    """Upper hysteresis threshold of OpenCV's Canny."""
    gamma: Annotated[float, Field(ge=0, le=1)] | None = None
    """How closely the output follows the input: 1 follows it fully, 0 only the caption and the noise. Needs weights
    trained for it (sketch_to_image_stochastic). A sample's column ``gamma`` takes precedence. None: 1."""
    caption: str | None = None
    """Text prompt for all samples. None: each sample's own caption, else the one the weights were trained with."""
    base: WeightsUri = "stabilityai/sd-turbo"
    """The SD-Turbo model that an official ``.pkl`` adapts, and the text encoder for captions that our own files do not
    store: hub id, folder or URI."""
    image_prep: ImagePrep = "multiple_of_8"
    """Size that the model works at: ``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` (as the
    official script) or ``no_resize``."""
