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

from methods.counting import counted
from pipeline.plan import FilePlan
from pipeline.records import Rejection
from pipeline.run.probe import Ending, Probes

DEATHS = 2
"""How often a sample takes its process down, alone, before it is called the culprit."""

BUDGET = 64
"""Deaths of one search. What it has not looked into by then is tried as it is, and searched again if that fails."""

_SAY_EVERY = 10.0
_MESSAGE = "the worker process died while translating this sample alone, twice"


@dataclass
class _Walk:
    """One shard on its way through probes: ``next`` is the sample to try, ``size`` their number once it is read.

    ``held`` says whether the probe of the moment has read it.
    """

    file: str
    part: int
    next: int = 0
    size: int | None = None
    deaths: Counter[int] = field(default_factory=Counter)
    held: bool = False


def find_poison(
    plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], probes: Probes, say: Callable[[str], None]
) -> tuple[FilePlan, ...]:
    """The same file plans with every sample that kills its process on its own noted as poison.

    Args:
        suspects: by the files' relative names, the parts to walk through.
        probes: the processes that may die.
        say: called with a line about the progress, every ten seconds.
    """
    return _Search(plans, suspects, probes, say).result()


class _Search:
    def __init__(
        self,
        plans: Sequence[FilePlan],
        suspects: Mapping[str, Sequence[int]],
        probes: Probes,
        say: Callable[[str], None],
    ) -> None:
        self.probes, self.say = probes, say
        self.plans = {plan.file.relative: plan for plan in plans}
        self.waiting = [_Walk(file, part) for file, parts in suspects.items() for part in parts]
        self.working: dict[Any, _Walk] = {}
        self.total, self.walked, self.tried, self.found, self.deaths = len(self.waiting), 0, 0, 0, 0
        self.said = time.monotonic()

    def result(self) -> tuple[FilePlan, ...]:
        """Walk through all suspects, or until the budget is used up."""
        try:
            while self.working or (self.waiting and self.deaths < BUDGET):
                while self.waiting and len(self.working) < self.probes.most and self.deaths < BUDGET:
                    self._begin(self.waiting.pop(0))
                for probe, answer in self.probes.wait(1.0):
                    walk = self.working.pop(probe)
                    if isinstance(answer, str):
                        self._ended(walk, answer)
                    else:
                        self._go_on(probe, walk, answer)
                if time.monotonic() - self.said > _SAY_EVERY:
                    self._report()
        finally:
            for probe in self.working:
                self.probes.end(probe)
        self._report()
        return tuple(self.plans.values())

    def _begin(self, walk: _Walk) -> None:
        """A fresh process for a shard: it reads the shard, and then tries what is next."""
        probe = self.probes.begin()
        self.working[probe] = walk
        walk.held = False
        self.probes.call(probe, "hold", self._one(walk))

    def _go_on(self, probe: Any, walk: _Walk, answer: int | None) -> None:
        if not walk.held:
            walk.held, walk.size = True, answer
        else:
            walk.next += 1
            self.tried += 1
        poison = self.plans[walk.file].poison.get(walk.part, {})
        while walk.size is not None and walk.next < walk.size and walk.next in poison:
            walk.next += 1
        if walk.size is None or walk.next >= walk.size or self.deaths >= BUDGET:
            self.walked += 1
            self.probes.end(probe)
            return
        self.working[probe] = walk
        self.probes.call(probe, "try_one", walk.next)

    def _ended(self, walk: _Walk, how: Ending) -> None:
        if how == "died":
            self.deaths += 1
            # Before the shard is read, sample -1 stands for reading it: nothing of it can be found out here.
            at = walk.next if walk.held else -1
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
            f"searching {counted(self.total, 'shard')} that took the worker process down twice: "
            f"{self.walked:,} walked through, {counted(self.tried, 'sample')} tried, "
            f"{counted(self.found, 'culprit')} found"
        )
