"""The parameters of pix2pix."""

from __future__ import annotations

from methods.nn.image_prep_names import ImagePrep, PreparingParams


class Pix2PixParams(PreparingParams):
    """Parameters of pix2pix."""

    image_prep: ImagePrep = "multiple_of_8"
    """Size that the network works at: ``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` or
    ``no_resize``."""
