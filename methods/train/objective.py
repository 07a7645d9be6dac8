"""What can be trained: the contract between an objective (networks, losses, one step) and the loop that drives it.

An objective is described by a light :class:`ObjectiveInfo` under the entry-point group ``sceneshift.objectives`` and
built by :func:`methods.train.registry.build`. It owns its networks, optimizers and the order of its steps, because that
order is part of the published methods; the loop owns data, time, learning rates, accumulation, clipping, checkpoints,
averaging, logs and resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from methods.base import Inputs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from methods.train.updates import Updates

Sample = Mapping[str, "Tensor | str | int | float"]
"""One training sample of one stream, as ``transform`` returns it: tensors without a batch axis, and plain values."""

Streams = Mapping[str, Mapping[str, "Tensor | list[Any]"]]
"""A batch: stream name -> field -> (B, ...) tensor on the device, or a list of plain values."""


def _constant(params: ObjectiveParams, step: int, steps: int) -> float:
    return 1.0


class ObjectiveParams(BaseModel):
    """Base of every objective's parameters: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class ObjectiveInfo:
    """The light description of something trainable; importing it imports no torch.

    Attributes:
        name: as used in training specs.
        summary: one line for people.
        paper: where it is published.
        implementation: ``module:Class`` of a class that follows :class:`Objective`.
        params: the parameters it takes, with the published defaults.
        streams: the data streams it draws from, with what each is (``{"a": "pictures of domain A", ...}``). Streams
            are drawn independently of each other; paired data is one stream whose samples carry both sides.
        pairs: how it learns from pairs, for distillation; ``None`` if it does not. ``target``: one stream, whose
            samples carry the true counterpart as target. ``both``: two streams, one for each domain, with the
            counterparts as targets, where its parameters are ``paired``. ``condition``: one stream of outputs, with
            what they are made from in a mask column that its parameter ``column`` names.
        refuses: settings of the recipe that would do nothing, each with the reason.
        steps, batch_size: published defaults.
        schedule: share of the learning rates, in (0, 1], at an iteration (from 0): (params, iteration, steps) -> share.
    """

    name: str
    summary: str
    paper: str
    implementation: str
    params: type[ObjectiveParams]
    streams: Mapping[str, str]
    pairs: Literal["target", "both", "condition"] | None = None
    refuses: Mapping[str, str] = field(default_factory=dict)
    steps: int = 10_000
    batch_size: int = 4
    schedule: Callable[[Any, int, int], float] = _constant


@dataclass(frozen=True)
class Validation:
    """What a validation says: scalars by name, and pictures by title as (H, W, 3) uint8."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


class Objective(Protocol):
    """A built objective, on its device.

    ``step`` must draw all its randomness from the generator it is handed (seeded from job seed, step and rank by the
    loop), so that a resumed run goes on as if it had never stopped.
    """

    info: ClassVar[ObjectiveInfo]
    params: Any

    @classmethod
    def build(cls, params: Any, device: torch.device, precision: torch.dtype, steps: int) -> Objective:
        """Make networks and optimizers. ``steps`` is the length of the run. Raises InputError."""
        ...

    def networks(self) -> Mapping[str, nn.Module]:
        """The trained networks by name: what is averaged (EMA), and whose gradients are shared between workers."""
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimizers by name, at their full learning rates when built; the first is the one whose rate is shown."""
        ...

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """One sample of a stream from its decoded picture, on the CPU (crop, flip, tokenise). Raises BadSample."""
        ...

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One iteration: forward, backward and every optimizer's step. Returns losses by name.

        Optimizers go through ``updates.step(name, optimizer, loss=loss)``, which does the loss's backward pass,
        averages over workers meanwhile, accumulates over batches and clips as the recipe says; where a step is on
        several losses, all but the last go through ``updates.backward(loss)`` before. With accumulation it is called
        for each batch of an iteration, with the same ``step``.
        """
        ...

    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Metrics and pictures on held-out samples by stream."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: networks, optimizers, schedules; tensors and plain values only."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """Write weights that ``methods.load`` reads (the averaged ones where given); returns what was written."""
        ...
