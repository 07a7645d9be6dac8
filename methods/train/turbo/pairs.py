"""Aligned image pairs of several sizes, held in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.errors import InputError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def load_images(place: Path, domain: str) -> np.ndarray:
    """(N, H, W, 3) uint8: ``place/{domain}.npy``, else the pictures of ``place/{domain}/images`` sorted by name.

    Raises:
        InputError: neither is there, or the pictures are not of one size.
    """
    stored, folder = place / f"{domain}.npy", place / domain / "images"
    if stored.exists():
        images = np.load(stored)
    else:
        files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
        pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files]
        if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
            found = f"{len(pictures)} pictures of several sizes" if pictures else "no pictures"
            raise InputError(f"{folder}: found {found}, expected pictures of one size (or {stored.name} beside it)")
        images = np.stack(pictures)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise InputError(f"{stored}: found {images.shape} {images.dtype}, expected (N, H, W, 3) uint8")
    return images


def to_batch(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return tensor.float().div_(127.5).sub_(1.0)


class Pairs:
    """Pairs (a, b) of one split, grouped by width.

    Layout: ``DIR/{split}/{anything}/`` for each size, with both domains as :func:`load_images` reads them; image i of
    one domain belongs to image i of the other. ``sceneshift sample-data DIR/train/128 --format folder`` writes it.

    Args:
        folder: DIR.
        split: ``train`` or ``test``.
        domains: names of a and b.

    Raises:
        InputError: no such folder, or sets that do not belong together.
    """

    def __init__(self, folder: Path, split: str, domains: tuple[str, str] = ("day", "night")) -> None:
        self.arrays: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        places = sorted(place for place in (folder / split).glob("*") if place.is_dir())
        if not places:
            raise InputError(f"{folder / split}: expected a folder with one folder a size in it")
        for place in places:
            a, b = (load_images(place, domain) for domain in domains)
            if a.shape != b.shape:
                raise InputError(f"{place}: {domains[0]} is {a.shape}, {domains[1]} is {b.shape}: not pairs")
            self.arrays[a.shape[2]] = (a, b)

    def batch(self, size: int, rows: np.ndarray | list[int], flips: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Images ``rows`` of both domains, (B, 3, H, W) in [-1, 1]; mirrored where ``flips`` is true."""
        out = []
        for array in self.arrays[size]:
            images = array[rows]
            if flips is not None:
                images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
            out.append(to_batch(images))
        return out[0], out[1]

    def draw(self, size: int, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A random batch, half of it mirrored."""
        return self.batch(size, rng.integers(len(self.arrays[size][0]), size=count), rng.random(count) < 0.5)
