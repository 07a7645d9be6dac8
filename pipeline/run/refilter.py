"""Filtering an output again without translating it again: the data stays, the index and what is made of it change."""

from __future__ import annotations

from dataclasses import replace

from methods.errors import InputError
from pipeline.fence import Lease
from pipeline.job import Job
from pipeline.logs.run import new_run
from pipeline.output.finalise import finalise
from pipeline.output.summary import RunSummary
from pipeline.output.view import View, view_bytes
from pipeline.paths import SUCCESS_FILE, VIEW_FILE
from pipeline.run.parts import WHOLE
from pipeline.sink.index import list_parts
from pipeline.uris import redact


def refilter(job: Job, keep: str | None) -> RunSummary:
    """Apply a filter to what an output has kept, or with ``None`` take it back; a second one replaces the first.

    What the job's own ``keep`` dropped has no picture in the data and stays out. Stopped at any moment, the next
    ``run``, ``report`` or ``refilter`` brings index and summaries up to date.

    Raises:
        InputError: no expression over the metrics that the job measured, nothing committed, or a run is at work here.
    """
    view = None if keep is None else View.of(keep, job.metric_columns)
    store = job.store
    if not list_parts(store):
        raise InputError(f"{redact(store.uri())}: nothing is committed yet; run the job first")
    with WHOLE.locked(store, new_run(), steal=False) as held:
        mine = replace(job, lease=Lease(held.token, job.fingerprint, job.generation))
        complete = mine.store.exists(SUCCESS_FILE)
        # As in a run: without it, summaries that are older than the view are known to be.
        mine.store.delete(SUCCESS_FILE)
        if view is None:
            mine.store.delete(VIEW_FILE)
        else:
            mine.store.put(VIEW_FILE, view_bytes(view))
        return finalise(mine, complete=complete)
