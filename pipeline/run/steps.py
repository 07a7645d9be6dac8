"""The three steps of the graph as plain functions and one class: read, translate, commit. No Ray here.

The Ray graph and the local loop both call these; what they do on one shard cannot differ between the two.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from methods.errors import InputError, first_line
from pipeline.job import Job
from pipeline.logs.faults import log_fault
from pipeline.plan import FilePlan
from pipeline.records import Rejection, Shard


@dataclass(frozen=True)
class Failure:
    """A step that could not be done for reasons of the machinery, not of a sample; the work stays to be done.

    ``fatal`` marks a failure that every other shard would meet too, with ``message`` written for the user.
    """

    where: str
    message: str
    fatal: bool = False

    @classmethod
    def of(cls, stage: str, where: str, error: BaseException) -> Failure:
        """What became of a step at a stage (read, translate, write); the traceback goes to the log."""
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error, 300)}"
        log_fault(logging.ERROR, f"{where} is not done: {said}", stage, type(error).__name__, error)
        return cls(where, said)


def read_file(job: Job, plan: FilePlan) -> Iterator[Shard]:
    """The shards of one source file that are not committed yet, streaming the file once."""
    for shard in job.source().read(plan.file, job.layout, job.shard_size, plan.done):
        yield without_poison(shard, plan.poison.get(shard.part, {}))


def without_poison(shard: Shard, poison: Mapping[int, Rejection]) -> Shard:
    """The shard with the samples that kill their process replaced by rejections."""
    if not poison:
        return shard
    samples = tuple(
        replace(sample, image=None, target=None, problem=poison[n]) if n in poison and not sample.problem else sample
        for n, sample in enumerate(shard.samples)
    )
    return replace(shard, samples=samples)
