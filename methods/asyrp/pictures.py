"""Images as the input of Asyrp's UNets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.errors import InputError
from methods.nn.image_prep import to_tensor

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_square(image: np.ndarray, side: int, resample: str) -> Tensor:
    """(H, W, 3) uint8 -> (3, side, side) float32 in [-1, 1]; the aspect ratio is not kept.

    Args:
        resample: ``bilinear`` or ``bicubic``.
    """
    resized = Image.fromarray(image).resize((side, side), _FILTERS[resample])
    return to_tensor(np.asarray(resized))


def picture_batches(folder: Path, count: int, side: int, size: int) -> Iterator[Tensor]:
    """(B, 3, side, side) in [-1, 1] with B up to ``size``: the first ``count`` pictures of a folder by name.

    Raises:
        InputError: no such folder, no pictures in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not files:
        raise InputError(f"{folder}: found no pictures (.png, .jpg, .webp)")
    for start in range(0, min(count, len(files)), size):
        rows = []
        for path in files[start : min(start + size, count)]:
            try:
                with Image.open(path) as picture:
                    rows.append(to_square(np.asarray(picture.convert("RGB")), side, "bilinear"))
            except OSError as error:
                raise InputError(f"{path}: no picture that can be read ({type(error).__name__})") from None
        yield torch.stack(rows)
