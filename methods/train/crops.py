"""How training pictures are cut; the same for both pictures of a pair."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from methods.nn.image_prep_names import check_image_prep

_RANDOM = re.compile(r"resize_(\d+)_randomcrop_(\d+)x(\d+)(_hflip)?")
_MIRRORED = "_hflip"


def check_crop(name: str) -> str:
    """``name`` if it is a random crop or a preparation of the method, also with ``_hflip``.

    Raises:
        ValueError: another name; the message lists the forms.
    """
    match = _RANDOM.fullmatch(name)
    if match is None:
        try:
            check_image_prep(name.removesuffix(_MIRRORED))
        except ValueError as error:
            raise ValueError(f"{error}, each also with _hflip; or resize_N_randomcrop_WxH[_hflip]") from None
        return name
    side, width, height = int(match[1]), int(match[2]), int(match[3])
    if width % 8 or height % 8 or not 8 <= max(width, height) <= side <= 8192:
        raise ValueError(f"'{name}': the crop's sides must be multiples of 8 and fit into {side}x{side}")
    return name


def cut(images: Sequence[np.ndarray], name: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut pictures of one size and place alike: (H, W, 3) uint8 each -> (h, w, 3) uint8; label maps (H, W) -> (h, w).

    ``resize_286_randomcrop_256x256_hflip``: Lanczos to 286 x 286, a random 256 x 256 of it, mirrored half of the time.
    Other preparations are those of the methods; with ``_hflip`` (``no_resize_hflip``) mirrored half of the time.

    Raises:
        BadSample: as :func:`methods.nn.image_prep.prepare_image`.
    """
    # only here: descriptions of objectives must not import torch
    from methods.nn.image_prep import prepare_image

    match = _RANDOM.fullmatch(name)
    if match is None:
        mirrored = name.endswith(_MIRRORED) and rng.random() < 0.5
        found = [prepare_image(image, name.removesuffix(_MIRRORED)) for image in images]
        return [image[:, ::-1] if mirrored else image for image in found]
    side, width, height = int(match[1]), int(match[2]), int(match[3])
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    mirrored = bool(match[4]) and rng.random() < 0.5
    found = []
    for image in images:
        part = prepare_image(image, f"resize_{side}x{side}")[top : top + height, left : left + width]
        found.append(part[:, ::-1] if mirrored else part)
    return found
