"""Finding the sample that kills its process.

A shard that took its process down `compute.max_attempts` times is walked through sample by sample in a process that may
die. Walking costs one death a culprit; halving would cost a death and a fresh model load at every level.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.job import Job
from pipeline.plan import FilePlan
from pipeline.records import Rejection


class _Probe:
    """An expendable translator that holds the unfinished shards of one source file."""

    def __init__(self, job: Job, plan: FilePlan) -> None:
        from pipeline.run.steps import read_file
        from pipeline.translate.translator import Translator

        # One at a time, alone in the device: whoever is inside when the process dies did it.
        self.translator = Translator(replace(job, batch_size=1))
        self.shards = list(read_file(job, plan))

    def outline(self) -> list[tuple[int, list[str]]]:
        """(part, keys) of each shard held."""
        return [(shard.part, [sample.key for sample in shard.samples]) for shard in self.shards]

    def try_one(self, index: int, sample: int) -> int:
        """Translate one sample of one shard; returns the process id."""
        shard = self.shards[index]
        from pipeline.translate.shard import translate_shard

        translate_shard(self.translator, replace(shard, samples=(shard.samples[sample],)))
        return os.getpid()


def find_poison(job: Job, plan: FilePlan) -> FilePlan:
    """The same file plan with every sample that kills its process on its own noted as poison."""
    import ray
    from ray.exceptions import ActorDiedError

    def probe(known: FilePlan) -> Any:
        compute = job.spec.compute
        expendable: Any = ray.remote(max_restarts=0, num_cpus=compute.cpus, num_gpus=compute.gpus)(_Probe)
        return expendable.remote(job, known)

    poison = {part: dict(found) for part, found in plan.poison.items()}
    actor = probe(plan)
    try:
        outline: Sequence[tuple[int, list[str]]] = ray.get(actor.outline.remote())
        for index, (part, keys) in enumerate(outline):
            for sample in range(len(keys)):
                if sample in poison.get(part, {}):
                    continue
                try:
                    ray.get(actor.try_one.remote(index, sample))
                except ActorDiedError:
                    message = "the worker process died while translating this sample alone"
                    poison.setdefault(part, {})[sample] = Rejection("translate", "killed_worker", message)
                    plan = replace(plan, poison=poison)
                    actor = probe(plan)
    finally:
        ray.kill(actor)
    return replace(plan, poison=poison)
