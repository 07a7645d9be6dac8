"""What travels through the inside of a worker: a prepared sample, an item of a batch, what the device made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.findings import Finding
from pipeline.records import Rejection, Sample

if TYPE_CHECKING:
    # The driver of a cluster reads one constant here, and is not to wait for torch.
    import numpy as np
    import torch

    from pipeline import codec
    from pipeline.labels import Labels
    from pipeline.translate.passthrough import Window

WAITS = "waiting for the device"
"""The note of a shard that has been taken up and whose samples are not yet on the device."""

Sizes: TypeAlias = "dict[tuple[str, tuple[int, int]], np.ndarray]"
"""Resized pictures by what they show (``source``, ``target``) and (width, height)."""

Note = Callable[[str, str], None]
"""Tells whoever watches what is being worked on: (shard id, what)."""


@dataclass(frozen=True)
class Opened:
    """A sample that is decoded, with its labels: nothing of it depends on a method.

    ``sizes`` are its pictures as they were resized to be compared, for all targets that do so.
    """

    sample: Sample
    decoded: codec.Decoded
    target: np.ndarray | None
    labels: Labels | None
    label_record: int | None
    label_problem: str | None
    sha256: str
    sizes: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A sample ready for the device, with what is needed to finish it; ``unread`` are texts that look like labels."""

    sample: Sample
    decoded: codec.Decoded
    window: Window | None
    target: np.ndarray | None
    labels: Labels | None
    label_record: int | None
    tensor: torch.Tensor
    sha256: str
    label_problem: str | None = None
    unread: tuple[Finding, ...] = ()
    sizes: Sizes = field(default_factory=dict)

    @property
    def label_problems(self) -> tuple[str, ...]:
        """Why labels of the sample, or single annotations of them, are left out."""
        if self.labels is not None:
            return self.labels.problems
        return () if self.label_problem is None else (self.label_problem,)

    def findings(self) -> tuple[Finding, ...]:
        """What a user should look at in this sample."""
        doubt = self.decoded.doubt
        return (() if doubt is None else (Finding("depth", "dark", doubt, 1, (self.sample.key,)),)) + self.unread


@dataclass(frozen=True)
class Item:
    """One (sample, variant) on its way through the device; ``slot`` is its place among the shard's rows."""

    slot: int
    prepared: Prepared
    variant: int
    seed: int


@dataclass
class Measures:
    """What the metrics say of one picture.

    Attributes:
        values: by column.
        features: by set.
        annotations: one mapping of JSON values an annotation of its labels; empty where nothing is said of them.
        attributes: what is said of the picture, to stand with its labels.
    """

    values: dict[str, float] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)


Result: TypeAlias = "torch.Tensor | np.ndarray | Rejection"
"""What the device made of an item: (3, H, W) float in [-1, 1], (H, W, 3) uint8 pixels, or why not."""

Hold = Callable[[Sequence[Item]], AbstractContextManager[None]]
"""What is put around the method's own call on a batch: who has the device, for how long."""
