"""The beginning of a run: the output becomes this job's, and what it knows of the source is written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from pipeline.fence import Lease
from pipeline.findings import write_findings
from pipeline.job import Job
from pipeline.labels.source import publish, tables_of, write_info
from pipeline.paths import JOB_FILE, SUCCESS_FILE
from pipeline.plan import Plan
from pipeline.run.belongings import clear, clear_shards, clear_unfinished
from pipeline.run.parts import Part
from pipeline.sink.commit import take_back
from pipeline.translate.labelling import job_table


def take_output(job: Job, plan: Plan, part: Part, lease: Lease, *, fresh: bool) -> Job:
    """Make the output ready for the work; the job as it may write, under the lease. Needs the lock, or a part's turn.

    Args:
        plan: of all files; of those of other parts only what was not known of them is recorded.
        fresh: throw away what the output holds of this job and of an earlier one.
    """
    _take(job, plan, fresh=fresh)
    mine = replace(job, lease=lease)
    share = part.of(plan)
    clear_unfinished(mine.store, share.files)
    take_back(mine, share.outdated)
    part.record(mine.store, share.files, [each for each in plan.files if not part.has(each.file.relative)])
    write_findings(mine.store, plan.findings)
    mine.store.delete(SUCCESS_FILE)
    _share_labels(mine, tables_of(mine.store) if plan.committed else ())
    return mine


def _take(job: Job, plan: Plan, *, fresh: bool) -> None:
    """Put the job's record into the output and clear away what is not of this job, with the lock held.

    The record comes first: from then on what a driver of another job still writes is refused, or lands in a generation
    that nobody reads. Killed in between, the next run clears away the rest.
    """
    store = job.store
    record = json.dumps(job.describe(), indent=1, sort_keys=True).encode()
    if fresh:
        store.delete(SUCCESS_FILE)
        store.put(JOB_FILE, record)
        clear(store, plan.files, record_too=False)
    elif job.generation > 1:
        clear_shards(store, plan.files, keep=job.generation)


def _share_labels(job: Job, before: Sequence[str]) -> None:
    """Note what the labels came from, and put their table where the workers of other machines reach it.

    Args:
        before: the tables that committed shards were made with.
    """
    table = job_table(job)
    if table is None:
        return
    others = [name for name in before if name != table.path.name]
    write_info(table.info, job.store, [*others, table.path.name])
    table.close()
    if job.spec.compute.address not in (None, "local"):
        publish(table.path, job.store)
