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

    from pipeline.metrics.lpips_levels import SharedLpips

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
        self._shared: SharedLpips | None = None

    def load(self) -> SharedLpips:
        """Put the network on the device. Raises InputError: weights that do not fit."""
        if self._shared is None:
            # Imported here, as finalise builds every metric and needs no network for it.
            from methods import weights as store
            from pipeline.metrics.lpips_levels import shared

            files = [str(store.fetch(uri)) for uri in self._params.weight_uris()]
            self._shared = shared(str(self._device), files[0], files[1], self._params.network)
        return self._shared

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column."""
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
        if not pairs:
            return found
        lpips = self.load()
        with torch.inference_mode():
            for shape, run in groupby(pairs, key=lambda pair: pair[1].shape):
                # the features of a large picture take hundreds of megabytes
                for group in _groups(run, max(1, _PIXELS // (shape[0] * shape[1]))):
                    levels = lpips.levels([output for _, output, _ in group], [other for _, _, other in group])
                    for at, output, other in group:
                        found[at] = float(lpips.network.distance(levels[id(output)], levels[id(other)]))
        return found


def _groups(items: Iterable[_T], most: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while group := list(islice(rest, most)):
        yield group
