"""The shape of a metric: one file each, measured on the worker while the images are still there.

Per-sample values become index columns ``metric.<column>``. Metrics of whole sets (KID, FID) keep one feature vector a
sample; the vectors are stored beside the index part of the shard and merged by ``finalise``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np

    from pipeline.labels import Labels


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of some samples as they will be stored, before compression.

    Attributes:
        source: (H, W, 3) uint8 each; the input, resized to the output's size.
        output: (H, W, 3) uint8 each; the translation.
        target: the true picture in the other domain where the source carries one, resized likewise, else ``None``.
        source_caption: what the source's caption says; empty where whoever measures has no captions.
        caption: the caption that the output will have; likewise.
        labels: the source's labels in the output's coordinates, ``None`` for a sample without; likewise.
        key: the sample's key and its variant, which decide what belongs to a seeded choice; likewise.
    """

    source: Sequence[np.ndarray]
    output: Sequence[np.ndarray]
    target: Sequence[np.ndarray | None]
    source_caption: Sequence[str | None] = ()
    caption: Sequence[str | None] = ()
    labels: Sequence[Labels | None] = ()
    key: Sequence[tuple[str, int]] = ()

    def __len__(self) -> int:
        return len(self.output)


@dataclass(frozen=True)
class Measured:
    """What a metric says of some samples.

    Attributes:
        values: column name -> one float per sample (``nan`` where it does not apply, such as no target).
        features: set name -> (B, D), for metrics of whole sets; ``None`` in place of a row keeps none of that sample.
        annotations: for each sample, one mapping of JSON values per annotation of its labels (in their order), to be
            written with the annotation; empty for a metric that says nothing of them.
        attributes: for each sample, what is to be written among the attributes of its labels, if it has any; likewise.
    """

    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    features: Mapping[str, np.ndarray | Sequence[np.ndarray | None]] = field(default_factory=dict)
    annotations: Sequence[Sequence[Mapping[str, Any]]] = ()
    attributes: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class SetFigures:
    """What a metric says of a whole set.

    Attributes:
        values: by name.
        notes: what one has to know to read them, one sentence each, such as too few pictures.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Metric(Protocol):
    """One metric. Built once per worker process by ``pipeline.metrics.build``.

    Called from one thread at a time, unless a class attribute ``concurrent`` is true: several threads then measure
    different pictures with it at once, so it must keep nothing between calls.

    A metric with weights may have a method ``load()``, which a worker calls before its first picture; one that looks at
    labels says so by ``needs_labels = True``.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def measure(self, pictures: Pictures) -> Measured:
        """Values (and features) of these samples; lower-level arrays stay here."""
        ...

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Dataset-level figures from the merged features; ``{}`` for purely per-sample metrics."""
        ...
