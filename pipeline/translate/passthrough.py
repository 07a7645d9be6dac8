"""Pictures that travel with a picture: masks, the true target and the source picture follow its geometry."""

from __future__ import annotations

from typing import Literal

import numpy as np

from methods.nn.resample import resample
from pipeline import codec
from pipeline.spec import ImageSpec
from pipeline.translate.labelling import upright_size

Window = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the upright picture."""


def carry_picture(
    data: bytes,
    decoded: codec.Decoded,
    window: Window | None,
    size: tuple[int, int],
    filter: Literal["nearest", "lanczos"],
) -> bytes:
    """A picture that belongs to the sample, cut and resized along. The very same bytes where nothing has to change.

    Args:
        decoded: the sample's picture, already cut to ``window``.
    """
    lies = decoded.orientation >= 5 and filter == "nearest"
    if window is None and _upright(decoded) == size and not lies:
        return data
    pixels = mask_pixels(data, decoded) if filter == "nearest" else codec.decode(data).pixels
    if window is not None:
        pixels = cut_to(pixels, window, upright_size(decoded))
    if filter == "nearest":
        return codec.encode_mask(codec.resize(pixels, size, "nearest"))
    return codec.encode(resample(pixels, size), "png")


def mask_pixels(data: bytes, decoded: codec.Decoded) -> np.ndarray:
    """A label map as numbers, upright as its picture is.

    A map has no EXIF data to say so: one of the size in which a picture that lies on its side is stored was made of the
    stored pixels, and is turned along.
    """
    pixels = codec.decode_mask(data)
    if decoded.orientation >= 5 and pixels.shape[1::-1] == decoded.raw_size:
        return codec.upright(pixels, decoded.orientation)
    return pixels


def cut_to(pixels: np.ndarray, window: Window, upright: tuple[int, int]) -> np.ndarray:
    """The part of an (H, W, ...) array inside a window given in pixels of an ``upright`` = (width, height) picture."""
    across, down = pixels.shape[1] / upright[0], pixels.shape[0] / upright[1]
    left, top, right, bottom = window
    return pixels[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]


def carry_source(
    data: bytes, decoded: codec.Decoded, window: Window | None, size: tuple[int, int], image: ImageSpec
) -> bytes:
    """The source picture beside its translation: same part, same size, upright; untouched where it already is."""
    if window is None and _upright(decoded) == size and decoded.orientation == 1:
        return data
    return codec.encode(resample(decoded.pixels, size), image.format, image.quality)


def _upright(decoded: codec.Decoded) -> tuple[int, int]:
    return decoded.pixels.shape[1], decoded.pixels.shape[0]
