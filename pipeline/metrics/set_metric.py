"""Metrics of whole sets: features of a fixed sample of the pictures, compared when the run ends.

The sample is chosen by keys alone and read in the order of their hashes, so that the figure is the same however the
set was cut into shards and however often the run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from methods.counting import counted
from pipeline.metrics.base import Measured, Pictures, SetFigures
from pipeline.metrics.bounds import bounds, within
from pipeline.metrics.set_features import RANK, FeatureReader, chosen, rank

if TYPE_CHECKING:
    import torch

    from pipeline.metrics.encoded import EncodedPictures, Role
    from pipeline.metrics.set_params import SetParams

_NORMAL = 1.959964


def none_of(title: str, outputs: int, others: int) -> str:
    """What is said where a metric has no figure for lack of pictures on a side."""
    return f"{title}: no figure, for it takes two pictures on either side (outputs {outputs:,}, others {others:,})"


class SetMetric:
    """Base of one distance between the set of outputs and another set.

    The figure is the metric's :meth:`title`; ``..._source`` is added where the other set are the sources. Beside it
    stand ``..._low`` and ``..._high``, a 95 % interval by the bootstrap's standard error, and ``..._count``, the
    outputs compared.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    enough: ClassVar[int]
    """Pictures per side below which the figure says little."""

    def __init__(self, device: str | torch.device, params: SetParams) -> None:
        self._device, self.params = str(device), params
        self._encoded: EncodedPictures[np.ndarray] | None = None

    def title(self) -> str:
        """The name of the figure."""
        raise TypeError("a metric of a set has a title")

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """The network on the device: one float16 vector per picture. Raises InputError: weights that do not fit."""
        raise TypeError("a metric of a set has an extractor")

    def distance(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """The distance of (n, D) and (m, D) features, and its standard error (nan for none)."""
        raise TypeError("a metric of a set has a distance")

    def load(self) -> EncodedPictures[np.ndarray]:
        """Put the network on the device."""
        if self._encoded is None:
            self._encoded = self.make_extractor()
        return self._encoded

    def measure(self, pictures: Pictures) -> Measured:
        """Features of the outputs among the sample, and of what they are compared with."""
        keys = pictures.key or [(str(number), 0) for number in range(len(pictures))]
        ranks = [rank(*key) for key in keys]
        taken = chosen(ranks, self.params.share)
        paired = [target is not None for target in pictures.target]
        against = self.params.against
        wanted: dict[Role, list[bool]] = {"output": taken}
        if against in ("auto", "target"):
            wanted["target"] = [take and pair for take, pair in zip(taken, paired, strict=True)]
        if against in ("auto", "source"):
            wanted["source"] = [
                take and not (pair and against == "auto") for take, pair in zip(taken, paired, strict=True)
            ]
        features: dict[str, Sequence[np.ndarray | None]] = {}
        for role, which in wanted.items():
            name = f"{self.params.set_name()}_{role}"
            features[name] = self.load().of(pictures, role, which)
            features[f"{name}_{RANK}"] = [
                np.array([each], np.int64) if take else None for each, take in zip(ranks, which, strict=True)
            ]
        return Measured(features=features)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: see :meth:`finish`."""
        return {}

    def finish(self, reader: FeatureReader, reference: np.ndarray | None) -> SetFigures:
        """The figures that the features allow; none for fewer than two pictures on a side.

        Args:
            reference: (m, D) features of the job's reference by this network, at most ``sample`` of them.
        """
        name, count = self.params.set_name(), self.params.sample
        output = reader.sample(f"{name}_output", count)
        if self.params.against == "reference":
            other, suffix = reference, ""
        else:
            other, suffix = reader.sample(f"{name}_target", count), ""
            if other is None or len(other) < 2:
                other, suffix = reader.sample(f"{name}_source", count), "_source"
        if output is None or other is None or min(len(output), len(other)) < 2:
            counts = [0 if each is None else len(each) for each in (output, other)]
            return SetFigures(notes=(none_of(self.title(), *counts),))
        name = self.title() + suffix
        value, error = self.distance(output, other)
        figures = {name: value, f"{name}_count": float(len(output))}
        if math.isfinite(error):
            low, high = within((value - _NORMAL * error, value + _NORMAL * error), value, *bounds(name))
            figures |= {f"{name}_low": low, f"{name}_high": high}
        fewest = min(len(output), len(other))
        if fewest >= self.enough:
            return SetFigures(figures)
        return SetFigures(
            figures, (f"{name} of {counted(fewest, 'picture')} says little: it needs {self.enough:,} on either side",)
        )
