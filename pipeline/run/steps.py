"""The three steps of the graph as plain functions and one class: read, translate, commit. No Ray here.

The Ray graph and the local loop both call these; what they do on one shard cannot differ between the two.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.job import Job
from pipeline.logs.faults import log_fault
from pipeline.plan import FilePlan, is_changed
from pipeline.records import Rejection, Shard, SourceFile
from pipeline.sources.versions import version_now
from pipeline.storage import StorageOptions
from pipeline.uris import redact


@dataclass(frozen=True)
class Failure:
    """A step that could not be done for reasons of the machinery, not of a sample; the work stays to be done.

    ``kind`` says what follows: ``step`` is tried again by the next run; ``changed`` that the source file is not the one
    that was planned, so that it is planned anew; ``input`` and ``job`` end the run with ``message`` written for the
    user, for what every other shard would meet too: a mistake of theirs, or the machinery's.
    """

    where: str
    message: str
    kind: Literal["step", "changed", "input", "job"] = "step"


class SourceChanged(Exception):
    """A source file is not the one any more that the plan was made for."""


def failure_of(stage: str, where: str, error: Exception) -> Failure:
    """What an error that is no sample's means for the run; its traceback goes to the log.

    Args:
        stage: read, translate or write.
        where: the source file or shard that was in hand.
    """
    if isinstance(error, SourceChanged):
        return Failure(where, str(error), "changed")
    if isinstance(error, JobFailed):
        return Failure(where, str(error), "job")
    explained = isinstance(error, InputError)
    said = str(error) if explained else f"{type(error).__name__}: {first_line(error, 300)}"
    # what explains itself, a full disk, is said in one line at the end of the run: the terminal needs no traceback
    log_fault(
        logging.INFO if explained else logging.ERROR, f"{where} is not done: {said}", stage, type(error).__name__, error
    )
    return Failure(where, redact(said))


def read_file(job: Job, plan: FilePlan) -> Iterator[Shard]:
    """The shards of one source file that are not committed yet, streaming the file once.

    Raises SourceChanged as soon as the file is another than the one that was planned: no shard of it is handed on then.
    """
    storage = job.spec.source.storage
    began = time.monotonic()
    for shard in job.source().read(plan.file, job.layout, job.shard_size, plan.wants):
        if is_other(plan.file, storage):
            raise SourceChanged(f"{redact(plan.file.uri)}: the file changed since it was listed")
        seconds = time.monotonic() - began
        yield replace(without_poison(shard, plan.poison.get(shard.part, {})), read_seconds=seconds)
        began = time.monotonic()


def is_other(file: SourceFile, storage: StorageOptions) -> bool:
    """Whether a source file, or one of a group of loose images on a disk, is not the one that was listed.

    Loose images in a bucket are not asked for one by one; the next run sees by its listing that one has changed.
    """
    if not file.version:
        return False
    # Twice, because one wrong answer of a store or a cache before it would cost the whole file.
    return all(
        is_changed(file, replace(file, version=version_now(file, storage)), gone=not file.members) for _ in range(2)
    )


def without_poison(shard: Shard, poison: Mapping[int, Rejection]) -> Shard:
    """The shard with the samples that kill their process replaced by rejections."""
    if not poison:
        return shard
    samples = tuple(
        replace(sample, image=None, target=None, problem=poison[n]) if n in poison and not sample.problem else sample
        for n, sample in enumerate(shard.samples)
    )
    return replace(shard, samples=samples)
