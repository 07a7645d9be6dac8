"""Aligned image pairs of several sizes, held in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from methods.errors import InputError


class Pairs:
    """Pairs (a, b) of one split, grouped by image size.

    Layout on disk: ``DIR/{split}/{size}/a.npy`` and ``b.npy``, each (N, H, W, 3) uint8, row i of one belonging to row i
    of the other.

    Raises:
        InputError: no such folder, or arrays that do not belong together.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.arrays: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for place in sorted((folder / split).glob("*/a.npy")):
            try:
                a, b = np.load(place), np.load(place.with_name("b.npy"))
            except (OSError, ValueError) as error:
                raise InputError(f"{place.parent}: expected the arrays a.npy and b.npy ({error})") from None
            if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3 or a.dtype != np.uint8 or b.dtype != np.uint8:
                raise InputError(
                    f"{place.parent}: found {a.shape} {a.dtype} and {b.shape} {b.dtype}, expected (N, H, W, 3) uint8"
                )
            self.arrays[a.shape[2]] = (a, b)
        if not self.arrays:
            raise InputError(f"{folder / split}: no <size>/a.npy and b.npy found")

    def batch(self, size: int, rows: np.ndarray | list[int], flips: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """Images ``rows`` of both domains, (B, 3, H, W) in [-1, 1], channels last; mirrored where ``flips`` is true."""
        out = []
        for array in self.arrays[size]:
            images = array[rows]
            if flips is not None:
                images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
            tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
            out.append(tensor.float().div_(127.5).sub_(1.0))
        return out[0], out[1]

    def draw(self, size: int, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A random batch, half of it mirrored."""
        return self.batch(size, rng.integers(len(self.arrays[size][0]), size=count), rng.random(count) < 0.5)
