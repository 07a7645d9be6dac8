"""Finding the samples that kill their process, in shards that died twice on different processes.

Each such shard is walked through sample by sample in a process that may die, several shards at a time. Walking costs
two deaths a culprit; halving would cost a death and a fresh model load at every level. A node that is lost meanwhile
says nothing about a sample: it is tried again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.job import Job
from pipeline.plan import FilePlan
from pipeline.records import Rejection, Shard

DEATHS = 2
"""How often a sample takes its process down, alone, before it is called the culprit."""

BUDGET = 64
"""Deaths of one search. What it has not looked into by then is tried as it is, and searched again if that fails."""

_SAY_EVERY = 10.0
_MESSAGE = "the worker process died while translating this sample alone, twice"


class _Probe:
    """An expendable translator that holds one shard."""

    def __init__(self, job: Job) -> None:
        from pipeline.translate.translator import Translator

        self.job = job
        # One at a time, alone in the device: whoever is inside when the process dies did it.
        self.translator = Translator(replace(job, batch_size=1))
        self.shard: Shard | None = None

    def node(self) -> str:
        """The node that the process is on."""
        import ray

        return ray.get_runtime_context().get_node_id()

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


@dataclass
class _Walk:
    """One shard on its way through a probe: ``next`` is the sample to try, ``size`` their number once it is read."""

    file: str
    part: int
    next: int = 0
    size: int | None = None
    deaths: Counter[int] = field(default_factory=Counter)
    probe: Any = None
    node: str = ""


def find_poison(
    job: Job, plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], probes: int, say: Callable[[str], None]
) -> tuple[FilePlan, ...]:
    """The same file plans with every sample that kills its process on its own noted as poison.

    Args:
        suspects: by the files' relative names, the parts to walk through.
        probes: how many to walk through at a time.
        say: called with a line about the progress, every ten seconds.
    """
    return _Search(job, plans, suspects, probes, say).result()


class _Search:
    def __init__(
        self,
        job: Job,
        plans: Sequence[FilePlan],
        suspects: Mapping[str, Sequence[int]],
        probes: int,
        say: Callable[[str], None],
    ) -> None:
        self.job, self.probes, self.say = job, max(1, probes), say
        self.plans = {plan.file.relative: plan for plan in plans}
        self.waiting = [_Walk(file, part) for file, parts in suspects.items() for part in parts]
        self.working: dict[Any, _Walk] = {}
        self.total, self.walked, self.tried, self.found, self.deaths = len(self.waiting), 0, 0, 0, 0
        self.said = time.monotonic()

    def result(self) -> tuple[FilePlan, ...]:
        """Walk through all suspects, or until the budget is used up."""
        import ray

        try:
            while self.working or (self.waiting and self.deaths < BUDGET):
                while self.waiting and len(self.working) < self.probes and self.deaths < BUDGET:
                    self._begin(self.waiting.pop(0))
                ready, _ = ray.wait(list(self.working), timeout=1.0)
                for reference in ready:
                    self._go_on(self.working.pop(reference), reference)
                if time.monotonic() - self.said > _SAY_EVERY:
                    self._report()
        finally:
            for walk in self.working.values():
                ray.kill(walk.probe)
        self._report()
        return tuple(self.plans.values())

    def _begin(self, walk: _Walk) -> None:
        """A fresh process for a shard: it reads the shard, and then tries what is next."""
        import ray

        compute = self.job.spec.compute
        expendable: Any = ray.remote(max_restarts=0, num_cpus=compute.cpus, num_gpus=compute.gpus)(_Probe)
        walk.probe, walk.node = expendable.remote(self.job), ""
        self.working[walk.probe.node.remote()] = walk

    def _go_on(self, walk: _Walk, reference: Any) -> None:
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        try:
            answer: Any = ray.get(reference)
        except (ActorDiedError, ActorUnavailableError):
            self._died(walk)
            return
        if not walk.node:
            walk.node = answer
            self.working[walk.probe.hold.remote(self._one(walk))] = walk
            return
        if answer is not None:
            walk.size = answer
        else:
            walk.next += 1
            self.tried += 1
        poison = self.plans[walk.file].poison.get(walk.part, {})
        while walk.size is not None and walk.next < walk.size and walk.next in poison:
            walk.next += 1
        if walk.size is None or walk.next >= walk.size or self.deaths >= BUDGET:
            self.walked += 1
            ray.kill(walk.probe)
            return
        self.working[walk.probe.try_one.remote(walk.next)] = walk

    def _died(self, walk: _Walk) -> None:
        if walk.node and _is_alive(walk.node):
            self.deaths += 1
            # Before the shard is read, sample -1 stands for reading it: nothing of it can be found out here.
            at = -1 if walk.size is None else walk.next
            walk.deaths[at] += 1
            if walk.deaths[at] >= DEATHS:
                if at < 0:
                    self.walked += 1
                    return
                self._note(walk, at)
                walk.next += 1
        self.waiting.insert(0, walk)

    def _note(self, walk: _Walk, sample: int) -> None:
        plan = self.plans[walk.file]
        poison = {part: dict(found) for part, found in plan.poison.items()}
        poison.setdefault(walk.part, {})[sample] = Rejection("translate", "killed_worker", _MESSAGE)
        self.plans[walk.file] = replace(plan, poison=poison)
        self.found += 1

    def _one(self, walk: _Walk) -> FilePlan:
        return replace(self.plans[walk.file], only=frozenset([walk.part]))

    def _report(self) -> None:
        self.said = time.monotonic()
        self.say(
            f"searching {self.total} shards that took their worker process down twice: {self.walked} walked through, "
            f"{self.tried} samples tried, {self.found} culprits found"
        )


def _is_alive(node: str) -> bool:
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
