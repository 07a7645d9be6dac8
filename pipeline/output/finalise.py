"""The end of a run: merge the index, compute dataset-level metrics, write card, report and, last, `success.json`.

Everything here is computed anew from what is committed, so doing it twice gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from pipeline.errors import JobFailed
from pipeline.findings import merge, read_findings
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.labels.source import tables_of
from pipeline.metrics.bounds import bounds
from pipeline.output.card import write_card
from pipeline.output.export.single import write_labels
from pipeline.output.gathering import Gathered, gather
from pipeline.output.report import write_report
from pipeline.output.set_figures import set_figures
from pipeline.output.summary import ColumnFigures, RowCounts, RunSummary
from pipeline.output.view import View, read_view
from pipeline.paths import CARD_FILE, JOB_FILE, MERGED_INDEX, METRICS_FILE, REPORT_FILE, SUCCESS_FILE
from pipeline.runlog import read_runs
from pipeline.sink.index import list_parts
from pipeline.sink.label_counts import LabelTotals
from pipeline.sink.parquet import parquet_bytes
from pipeline.small_parquet import rows_with
from pipeline.translate.labelling import job_table


def finalise(job: Job, *, complete: bool) -> RunSummary:
    """Bring the output's summaries up to date and return what ``metrics.json`` holds.

    ``success.json`` is written only when ``complete``. Above three million rows, or a gibibyte of them, there is no
    merged index: ``index/`` is the index then.
    """
    store = job.store
    paths = [entry.path for entry in list_parts(store)]
    view = read_view(store, job.metric_columns)
    found, labels = _gather(job, paths, view)
    merged, found.merged = found.merged, None
    if merged is not None:
        store.put(MERGED_INDEX, parquet_bytes(merged))
    elif store.exists(MERGED_INDEX):
        # of a time when there were fewer rows
        store.delete(MERGED_INDEX)
    summary = replace(_summary(job, found, merged), labels=labels)
    if job.spec.output.format == "files":
        write_labels(job)
    store.put(METRICS_FILE, json.dumps(summary.as_tree(), indent=1, sort_keys=True).encode())
    record = stored_job(store)
    if record is None:
        raise JobFailed(f"{store.uri(JOB_FILE)}: was deleted while this output was summarised; run the job again")
    filters = () if view is None else (view.keep,)
    schema = merged.schema if merged is not None else None
    store.put(CARD_FILE, write_card(record, summary, schema, filters).encode())
    page = write_report(record, store, merged, summary, read_runs(store), filters=filters)
    store.put(REPORT_FILE, page.encode())
    if complete:
        success = {"fingerprint": job.fingerprint, "shards": len(paths), "rows": asdict(summary.rows)}
        store.put(SUCCESS_FILE, json.dumps(success, indent=1, sort_keys=True).encode())
    return summary


def _gather(job: Job, paths: Sequence[str], view: View | None) -> tuple[Gathered, dict[str, Any]]:
    """What all parts say, and their counts of labels with the names of a few that matched no picture."""
    table = job_table(job)
    totals = LabelTotals(None if table is None else len(table))
    try:
        found = gather(job.store, paths, job.metric_columns, view, totals)
        if table is None:
            return found, totals.as_tree()
        counts = totals.as_tree() | {"unmatched_names": table.names(totals.unmatched())}
        # of a part of the source nothing follows about labels that were not found in it, and the shards of another
        # table count its pictures by other numbers
        known = job.spec.source.limit is None and len(tables_of(job.store)) < 2
        return found, counts | ({} if known else {"unmatched": None})
    finally:
        if table is not None:
            table.close()


def _summary(job: Job, found: Gathered, merged: pa.Table | None) -> RunSummary:
    figures, notes = set_figures(job, found.shards, found.ranks)
    return RunSummary(
        rows=RowCounts(sum(found.counts.values()), **found.counts),
        reasons=found.reasons,
        columns={name: ColumnFigures.of(summary.as_dict(*bounds(name))) for name, summary in found.columns.items()},
        dataset=figures,
        dataset_notes=tuple(notes),
        label_check=_label_check(found),
        duplicate_keys=None if merged is None else _duplicates(merged),
        findings=merge(read_findings(job.store), found.findings),
    )


def _duplicates(merged: pa.Table) -> int:
    good = rows_with(merged.select(["status", "key", "variant"]), "status", "ok")
    return good.num_rows - good.group_by(["key", "variant"], use_threads=False).aggregate([]).num_rows


def _label_check(found: Gathered) -> dict[str, Any] | None:
    """The table of what a detector still finds, by class; ``None`` for a job that does not ask one.

    ``filtered`` sums up what a filter dropped: a filter on the check itself makes every other figure look good.
    """
    if found.kept is None or found.dropped is None:
        return None
    dropped = found.dropped.as_tree()
    return found.kept.as_tree() | {"filtered": dropped["all"] | {"invented": sum(dropped["invented"].values())}}
