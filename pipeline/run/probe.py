"""An expendable translator with one shard in hand, and what those who search with several of them need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Protocol

from pipeline.job import Job
from pipeline.plan import FilePlan
from pipeline.records import Shard

Ending = Literal["died", "lost"]
"""How a probe's process ended: by itself, or with its node, which says nothing about the sample in hand."""


class Probe:
    """Reads one shard and translates its samples one by one, in a process that may die of it."""

    def __init__(self, job: Job) -> None:
        from methods.weights import go_offline
        from pipeline.translate.translator import Translator

        self.job = job
        # As a worker of the run: what a method finds on the hub alone is not found here either.
        go_offline([*job.weights_by_uri])
        # One at a time, alone in the device: whoever is inside when the process dies did it.
        self.translator = Translator(replace(job, batch_size=1))
        self.shard: Shard | None = None

    def hold(self, plan: FilePlan) -> int:
        """Read the one shard of the plan that is missing; returns its number of samples, 0 where there is none."""
        from pipeline.run.steps import read_file

        self.shard = next(iter(read_file(self.job, plan)), None)
        return 0 if self.shard is None else len(self.shard.samples)

    def try_one(self, sample: int) -> None:
        """Translate one sample of the shard that is held."""
        from pipeline.translate.shard import translate_shard

        assert self.shard is not None
        translate_shard(self.translator, replace(self.shard, samples=(self.shard.samples[sample],)))


class Probes(Protocol):
    """Probes in processes of their own.

    Attributes:
        most: how many there may be at a time.
    """

    most: int

    def begin(self) -> Any:
        """A handle of a fresh one."""
        ...

    def call(self, handle: Any, name: Literal["hold", "try_one"], argument: Any) -> None:
        """Call a method of a probe; ``wait`` has the answer."""
        ...

    def wait(self, seconds: float) -> list[tuple[Any, int | Ending | None]]:
        """Handles of those that answered or ended within the time, and what they returned or how they ended."""
        ...

    def end(self, handle: Any) -> None:
        """End one that is alive."""
        ...
