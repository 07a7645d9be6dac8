"""LPIPS' network and what it makes of pictures, shared by the targets of a job and the variants of a sample."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from methods.nn.lpips import LPIPS, load_lpips
from pipeline.metrics.batches import unit_batches

MOST_BYTES = 256 * 2**20
"""Of levels that are kept: those of one picture take from 5 MB (AlexNet) to hundreds (VGG-16)."""

Levels = list[Tensor]


class SharedLpips:
    """LPIPS on one device.

    Attributes:
        network: ready to be called.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """

    def __init__(self, device: str, weights: str, heads: str, network: Literal["alex", "vgg", "squeeze"]) -> None:
        self._device = torch.device(device)
        self.network: LPIPS = load_lpips(weights, heads, network).to(self._device)
        # an array may go, and take its levels along, in any thread and inside of any call
        self._lock = threading.RLock()
        # by id, which stands for one array until that is gone; the one that was asked for last comes last
        self._kept: OrderedDict[int, tuple[weakref.ref[np.ndarray], Levels]] = OrderedDict()
        self._bytes = 0

    def levels(self, once: Sequence[np.ndarray], again: Sequence[np.ndarray]) -> dict[int, Levels]:
        """The levels of pictures of one size, by the id of their array.

        Args:
            once: pictures that nobody asks for again.
            again: pictures that others may ask for: what was made of them is kept as long as they are there, in so far
                as it fits into :data:`MOST_BYTES`.
        """
        with self._lock:
            found = {id(each): self._kept[id(each)][1] for each in again if id(each) in self._kept}
        fresh = {id(each): each for each in (*again, *once) if id(each) not in found}
        found |= zip(fresh, self._made(list(fresh.values())), strict=True)
        for each in again:
            self._keep(each, found[id(each)])
        return found

    def _made(self, pictures: Sequence[np.ndarray]) -> list[Levels]:
        made: list[Levels] = []
        for batch in unit_batches(pictures, self._device):
            levels = self.network.levels_of(batch * 2 - 1)
            made += [[level[number : number + 1] for level in levels] for number in range(len(batch))]
        return made

    def _keep(self, picture: np.ndarray, levels: Levels) -> None:
        number = id(picture)
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return
            # a view into a batch would keep the whole of it
            own = [level.clone() for level in levels]
            self._kept[number] = (weakref.ref(picture, lambda _: self._drop(number)), own)
            self._bytes += _bytes(own)
            while self._bytes > MOST_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        with self._lock:
            if number in self._kept:
                self._bytes -= _bytes(self._kept.pop(number)[1])


def _bytes(levels: Levels) -> int:
    return sum(level.numel() * level.element_size() for level in levels)


@cache
def shared(device: str, weights: str, heads: str, network: Literal["alex", "vgg", "squeeze"]) -> SharedLpips:
    """The one network of this process for these files on a device. Raises InputError as :class:`SharedLpips`."""
    return SharedLpips(device, weights, heads, network)
