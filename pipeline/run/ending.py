"""The end of a job without its driver: an output summarised from what is committed, under its lock."""

from __future__ import annotations

from dataclasses import replace

from pipeline.fence import Lease
from pipeline.job import Job
from pipeline.job_record import JobRecord
from pipeline.logs.run import new_run
from pipeline.output.finalise import finalise
from pipeline.output.summary import RowCounts
from pipeline.plan import read_plan, refresh
from pipeline.run.parts import WHOLE
from pipeline.storage import Store


def finalise_output(store: Store, described: JobRecord) -> tuple[RowCounts, int | None]:
    """Bring an output's summaries up to date; it is marked as finished when no source file has work left.

    Args:
        described: the output's ``job.json``.

    Returns:
        Rows by status, and how many planned source files are not finished; ``None`` without a recorded plan.

    Raises:
        Busy: somebody is at work on the output.
    """
    with WHOLE.locked(store, new_run(), steal=False) as held:
        job = Job.from_record(described, store)
        job = replace(job, lease=Lease(held.token, job.fingerprint, job.generation))
        files = refresh(job, read_plan(store))
        unfinished = sum(not each.complete for each in files) if files else None
        return finalise(job, complete=unfinished == 0).rows, unfinished
