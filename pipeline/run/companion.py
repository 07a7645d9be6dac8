"""Another output of a job with targets, which is made from the shards that one output's run reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from methods.errors import first_line
from pipeline.job import Job
from pipeline.logs.context import log_context
from pipeline.logs.faults import log_fault
from pipeline.plan import FilePlan, Plan
from pipeline.records import Receipt, Shard, SourceFile, Translated
from pipeline.run.steps import Failure


@dataclass(frozen=True)
class Companion:
    """An output that is carried along.

    Attributes:
        target: its name.
        job: as it may write, under a lease of its own.
        skipped: by source file the parts that are not to be made for it; ``None`` for all.
    """

    target: str
    job: Job
    skipped: Mapping[str, frozenset[int] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, target: str, job: Job, plan: Plan, leading: Plan) -> Companion:
        """For an output with this plan; files that it knows otherwise than the ``leading`` one are skipped."""
        known = {each.file.relative: each for each in plan.files}
        skipped: dict[str, frozenset[int] | None] = {}
        for each in leading.pending:
            mine = known.get(each.file.relative)
            if mine is None or mine.complete or not same_file(mine, each):
                skipped[each.file.relative] = None
            elif mine.done:
                skipped[each.file.relative] = mine.done
        return cls(target, job, skipped)

    def wants(self, shard: Shard) -> Shard | None:
        """The shard as its output names it; ``None`` where it is not to be made."""
        skipped = self.skipped.get(shard.source, frozenset())
        if skipped is None or shard.part in skipped:
            return None
        file = SourceFile("", shard.source, generation=self.job.generation)
        return replace(shard, id=file.shard_id(shard.part))


def same_file(one: FilePlan, other: FilePlan) -> bool:
    """Whether two outputs mean the same by a source file: the same bytes, and of loose images the same group."""
    first, second = (replace(each.file, samples=None, generation=1) for each in (one, other))
    return first == second


@dataclass(frozen=True)
class Made:
    """What became of one shard: for the output that leads, and by target for those that wanted it too."""

    lead: Translated
    others: Mapping[str, Translated] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried:
    """A shard was committed to a companion's output."""

    target: str
    receipt: Receipt


Event = Receipt | Carried | Failure
"""What becomes known while shards are made: one is committed, in the leading output or another one; a step failed."""


def commit_others(companions: Sequence[Companion], made: Made) -> Iterator[Carried]:
    """Commit a shard to the companions' outputs. What cannot be committed is logged and left to a run of its own."""
    from pipeline.sink.commit import commit

    for each in companions:
        if each.target not in made.others:
            continue
        translated = made.others[each.target]
        with log_context(target=each.target, shard=translated.shard):
            try:
                receipt = commit(each.job, translated)
            except Exception as error:
                text = f"{translated.shard} is left to a run of {each.target} alone: {first_line(error)}"
                log_fault(logging.WARNING, text, "write", type(error).__name__, error)
                continue
        yield Carried(each.target, receipt)
