"""LPIPS (Zhang et al. 2018), version 0.1, on AlexNet, VGG-16 or SqueezeNet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.network_params import LpipsParams

if TYPE_CHECKING:
    import torch

    from methods.nn.lpips import LPIPS


_T = TypeVar("_T")
_SMALLEST = 32
_PIXELS = 2**20


class Lpips:
    """``lpips`` against the source, ``lpips_target`` against the target (nan without one): 0 for equal pictures.

    Pictures are compared at the size at which they are stored; a side below 32 pixels is nan.
    """

    name: ClassVar[str] = "lpips"
    columns: ClassVar[tuple[str, ...]] = ("lpips", "lpips_target")

    def __init__(self, device: str | torch.device = "cpu", params: LpipsParams | None = None) -> None:
        self._device, self._params = device, params or LpipsParams()
        self._network: LPIPS | None = None

    def load(self) -> LPIPS:
        """Put the network on the device. Raises InputError: weights that do not fit."""
        if self._network is None:
            # Imported here, as finalise builds every metric and needs no network for it.
            from methods.nn.lpips import load_lpips

            network, heads = self._params.weight_uris()
            self._network = load_lpips(network, heads, self._params.network).to(self._device)
        return self._network

    def measure(self, pictures: Pictures) -> Measured:
        """One value a sample in each column."""
        source, target = self._params.columns()
        return Measured(
            {
                source: self._distances(pictures.output, pictures.source),
                target: self._distances(pictures.output, pictures.target),
            }
        )

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}

    def _distances(self, outputs: Sequence[np.ndarray], others: Sequence[np.ndarray | None]) -> list[float]:
        import torch

        found = [math.nan] * len(outputs)
        pairs = [
            (at, output, other)
            for at, (output, other) in enumerate(zip(outputs, others, strict=True))
            if other is not None and min(other.shape[:2]) >= _SMALLEST
        ]
        with torch.inference_mode():
            for shape, run in groupby(pairs, key=lambda pair: pair[1].shape):
                # the features of a large picture take hundreds of megabytes
                for group in _groups(run, max(1, _PIXELS // (shape[0] * shape[1]))):
                    distinct = {id(each): each for _, output, other in group for each in (output, other)}
                    levels = dict(zip(distinct, self._levels(list(distinct.values())), strict=True))
                    for at, output, other in group:
                        found[at] = float(self.load().distance(levels[id(output)], levels[id(other)]))
        return found

    def _levels(self, pictures: Sequence[np.ndarray]) -> Iterator[list[torch.Tensor]]:
        """The levels of each picture of one size."""
        import torch

        from pipeline.metrics.batches import unit_batches

        for batch in unit_batches(pictures, torch.device(self._device)):
            levels = self.load().levels_of(batch * 2 - 1)
            for number in range(len(batch)):
                yield [level[number : number + 1] for level in levels]


def _groups(items: Iterable[_T], most: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while group := list(islice(rest, most)):
        yield group
