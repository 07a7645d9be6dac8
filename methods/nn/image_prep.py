"""Resizing and cropping images before a network, and images as tensors.

The named preparations are those of img2img-turbo, pixel for pixel with Pillow's Lanczos.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.errors import BadSample
from methods.nn.image_prep_names import Lanczos
from methods.nn.resample import resample

_RESIZE = re.compile(r"resize_(\d+)(?:x(\d+))?")


def prepare_image(image: np.ndarray, name: str, lanczos: Lanczos = "pillow") -> np.ndarray:
    """Resize or crop one image.

    Args:
        image: (H, W, 3) uint8 RGB; of a label map (H, W), the nearest pixels are taken wherever it is resized.
        name: ``resize_512x512`` (width x height; ``resize_512`` is the square): Lanczos, aspect ratio not kept.
            ``resized_crop_512``: shorter side to 512 by Lanczos, then the centre square.
            ``multiple_of_8``: both sides down to a multiple of 8 by Lanczos, as the official paired script does.
            ``no_resize``: as it is.
        lanczos: ``pillow`` gives the official pixels, ``fast`` those of :func:`methods.nn.resample.resample`.

    Returns:
        (h, w, 3) or (h, w) uint8 with h and w multiples of 8.

    Raises:
        BadSample: reason ``size_not_multiple_of_8``: ``no_resize`` met another size; ``too_small``: a side under 8.
    """
    height, width = image.shape[:2]
    if name == "no_resize":
        if height % 8 or width % 8:
            raise BadSample(
                "size_not_multiple_of_8",
                f"{width}x{height} with image_prep no_resize: no multiple of 8; use multiple_of_8 or a resize",
            )
        return image
    if name == "multiple_of_8":
        if min(height, width) < 8:
            raise BadSample("too_small", f"{width}x{height}: both sides must be at least 8")
        return _resized(image, width - width % 8, height - height % 8, lanczos)
    match = _RESIZE.fullmatch(name)
    if match:
        return _resized(image, int(match[1]), int(match[2] or match[1]), lanczos)
    side = int(name.rpartition("_")[2])
    # torchvision's Resize(side) truncates the long side; its CenterCrop rounds half to even
    scaled = int(side * max(width, height) / min(width, height))
    new_width, new_height = (side, scaled) if width <= height else (scaled, side)
    resized = _resized(image, new_width, new_height, lanczos)
    top, left = round((new_height - side) / 2), round((new_width - side) / 2)
    return resized[top : top + side, left : left + side]


def window_of(width: int, height: int, name: str) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the part that ``prepare_image`` keeps of a picture, to the pixel.

    ``None`` where it keeps the whole picture.
    """
    if not name.startswith("resized_crop_") or width == height:
        return None
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _resized(image: np.ndarray, width: int, height: int, lanczos: Lanczos) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 3 and lanczos == "fast":
        return resample(image, (width, height))
    filter = Image.Resampling.NEAREST if image.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((width, height), filter))


def to_tensor(pixels: np.ndarray, signed: bool = True) -> Tensor:
    """(H, W) or (H, W, C) uint8 -> (C, H, W) float32 in [-1, 1] if ``signed``, else in [0, 1]."""
    channels_last = pixels[:, :, None] if pixels.ndim == 2 else pixels
    tensor = torch.from_numpy(np.array(channels_last)).permute(2, 0, 1).float().div(255)
    return (tensor - 0.5) / 0.5 if signed else tensor
