"""The shape of a metric: one file each, measured on the worker while the images are still there.

Per-sample values become index columns ``metric.<column>``. Metrics of whole sets (KID, FID) keep one feature vector a
sample; the vectors are stored beside the index part of the shard and merged by ``finalise``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Pictures:
    """The pictures of some samples as they will be stored, before compression.

    Attributes:
        source: (H, W, 3) uint8 each; the input, resized to the output's size.
        output: (H, W, 3) uint8 each; the translation.
        target: the true picture in the other domain where the source carries one, resized likewise, else ``None``.
    """

    source: Sequence[np.ndarray]
    output: Sequence[np.ndarray]
    target: Sequence[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.output)


@dataclass(frozen=True)
class Measured:
    """What a metric says of some samples.

    Attributes:
        values: column name -> one float a sample (``nan`` where it does not apply, such as no target).
        features: set name -> (B, D) float32, for metrics of whole sets.
    """

    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)


class Metric(Protocol):
    """One metric. Built once per worker process by ``pipeline.metrics.build``.

    Called from one thread at a time, unless a class attribute ``concurrent`` is true: several threads then measure
    different pictures with it at once, so it must keep nothing between calls.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def measure(self, pictures: Pictures) -> Measured:
        """Values (and features) of these samples; lower-level arrays stay here."""
        ...

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Dataset-level figures from the merged features; ``{}`` for purely per-sample metrics."""
        ...
