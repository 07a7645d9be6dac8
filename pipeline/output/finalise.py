"""The end of a run: merge the index, compute dataset-level metrics, write card, report and, last, `success.json`.

Everything here is computed anew from what is committed, so doing it twice gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from methods.errors import first_line
from pipeline.errors import JobFailed
from pipeline.findings import merge, read_findings
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.labels.check_table import SurvivalTable
from pipeline.metrics.set_features import rank
from pipeline.metrics.summary import Summary
from pipeline.output.card import write_card
from pipeline.output.export.single import write_labels
from pipeline.output.report import write_report
from pipeline.output.set_figures import set_figures
from pipeline.output.summary import ColumnFigures, RowCounts, RunSummary
from pipeline.output.view import View, read_view
from pipeline.paths import CARD_FILE, JOB_FILE, MERGED_INDEX, METRICS_FILE, REPORT_FILE, SUCCESS_FILE
from pipeline.runlog import read_runs
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.label_counts import LabelTotals
from pipeline.sink.note import PartNote, read_note
from pipeline.sink.parquet import parquet_bytes
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import rows_with
from pipeline.storage import Store
from pipeline.translate.labelling import job_table

MERGE_LIMIT = 3_000_000


def finalise(job: Job, *, complete: bool) -> RunSummary:
    """Bring the output's summaries up to date and return what ``metrics.json`` holds.

    ``success.json`` is written only when ``complete``. Above three million rows there is no merged index: ``index/``
    is the index then.
    """
    store = job.store
    paths = [entry.path for entry in list_parts(store)]
    notes, labels = _notes(job, paths)
    rows = sum(note.attempted for note in notes)
    view = read_view(store, job.metric_columns)
    merged: pa.Table | None = None
    if rows <= MERGE_LIMIT:
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda path: _rows(store, path, view), paths))
        if tables:
            order = [("key", "ascending"), ("variant", "ascending"), ("shard", "ascending")]
            merged = pa.concat_tables(tables).sort_by(order).combine_chunks()
            store.put(MERGED_INDEX, parquet_bytes(merged))
    summary = replace(_summary(job, store, paths, merged, notes, view), labels=labels)
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


def _rows(store: Store, path: str, view: View | None) -> pa.Table:
    """The rows of one index part, as they are seen through the output's filter."""
    table = read_part(store.read(path)).replace_schema_metadata(None)
    return table if view is None else view.apply(table)


def _note(store: Store, path: str) -> PartNote:
    data = store.read(path)
    try:
        return read_note(data)
    except Exception as error:
        raise JobFailed(
            f"{store.uri(path)}: not a readable index part ({first_line(error)}); delete it and run again, "
            "which makes its shard anew"
        ) from error


def _summary(
    job: Job, store: Store, paths: list[str], merged: pa.Table | None, notes: Sequence[PartNote], view: View | None
) -> RunSummary:
    counts = {"ok": 0, "filtered": 0, "rejected": 0}
    reasons: dict[str, int] = {}
    notes = list(notes)
    for note in notes:
        for name in counts:
            counts[name] += getattr(note, name)
        for reason, number in note.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + number
    columns: dict[str, Summary] = {name: Summary() for name in job.metric_columns}
    duplicates: int | None = None
    # through a filter, figures of sets are those of what it keeps
    ranks: set[int] | None = None if view is None else set()
    if merged is not None:
        good = rows_with(merged, "status", "ok")
        kept = good.num_rows
        _add(columns, good)
        if ranks is not None:
            ranks |= _ranks(good)
        duplicates = good.num_rows - good.group_by(["key", "variant"], use_threads=False).aggregate([]).num_rows
    else:
        kept = 0
        for path in paths:
            part = rows_with(_rows(store, path, view), "status", "ok")
            kept += part.num_rows
            _add(columns, part)
            if ranks is not None:
                ranks |= _ranks(part)
    # the notes count what the job kept, of which a later filter may have taken some
    counts["filtered"] += counts["ok"] - kept
    counts["ok"] = kept
    figures, figure_notes = set_figures(job, {note.shard for note in notes}, ranks)
    return RunSummary(
        rows=RowCounts(sum(counts.values()), **counts),
        reasons=reasons,
        columns={name: ColumnFigures.of(summary.as_dict()) for name, summary in columns.items()},
        dataset=figures,
        dataset_notes=tuple(figure_notes),
        label_check=_label_check(job, store, paths, merged, view),
        duplicate_keys=duplicates,
        findings=merge(read_findings(store), *(note.findings for note in notes)),
    )


def _notes(job: Job, paths: Sequence[str]) -> tuple[list[PartNote], dict[str, Any]]:
    """The notes of all parts, and their counts of labels with the names of a few that matched no picture."""
    store, table = job.store, job_table(job)
    totals = LabelTotals(None if table is None else len(table))
    with ThreadPoolExecutor(8) as pool:
        notes = [totals.taken(note) for note in pool.map(lambda path: _note(store, path), paths)]
    if table is None:
        return notes, totals.as_tree()
    try:
        counts = totals.as_tree() | {"unmatched_names": table.names(totals.unmatched())}
        # of a part of the source nothing follows about labels that were not found in it
        return notes, counts | ({} if job.spec.source.limit is None else {"unmatched": None})
    finally:
        table.close()


def _ranks(rows: pa.Table) -> set[int]:
    keys = rows.select(["key", "variant"]).to_pylist()
    return {rank(each["key"], each["variant"]) for each in keys}


def _label_check(
    job: Job, store: Store, paths: list[str], merged: pa.Table | None, view: View | None
) -> dict[str, Any] | None:
    """The table of what a detector still finds, by class; ``None`` for a job that does not ask one.

    ``filtered`` sums up what a filter dropped: a filter on the check itself makes every other figure look good.
    """
    if "labels.survival" not in job.metric_columns:
        return None
    kept, filtered = SurvivalTable(), SurvivalTable()
    for part in [merged] if merged is not None else (_rows(store, path, view) for path in paths):
        for status, table in (("ok", kept), ("filtered", filtered)):
            table.add(rows_with(part, "status", status)["labels"].to_pylist())
    dropped = filtered.as_tree()
    return kept.as_tree() | {"filtered": dropped["all"] | {"invented": sum(dropped["invented"].values())}}


def _add(columns: dict[str, Summary], table: pa.Table) -> None:
    for name, summary in columns.items():
        if METRIC + name in table.column_names:
            summary.add(table[METRIC + name].drop_null().to_pylist())
