"""Putting the report together: what the page shows, in order, and the template it goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import yaml
from markupsafe import Markup

from methods.counting import counted, does
from pipeline import quantity
from pipeline.job_record import JobRecord
from pipeline.keep import KeepExpression
from pipeline.metrics.direction import better
from pipeline.output.report.admission import admission
from pipeline.output.report.ceiling import Ceiling
from pipeline.output.report.choose import MOST_INVENTED, SPREAD, choose
from pipeline.output.report.frame import render
from pipeline.output.report.gallery import Pair, load_gallery
from pipeline.output.report.plots import histogram, rate, spans, timeline
from pipeline.output.report.points import points
from pipeline.output.report.reasons import Reason, reasons
from pipeline.output.report.speed import Cost, RunSpeed, node_spans, run_speeds, seconds_by_worker, shard_spans
from pipeline.output.report.survival import Survival
from pipeline.output.summary import ColumnFigures, RunSummary
from pipeline.paths import PLAN_FILE
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.label_counts import describe_labels
from pipeline.sink.schema import METRIC, index_schema
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.storage import Store, redact
from pipeline.uris import beside, seen_from, tree_seen_from

_RUNS_SHOWN = 6
_PARTS_SAMPLED = 8


@dataclass(frozen=True)
class Chart:
    """A plot with its heading and a line of figures under it."""

    title: str
    figures: tuple[tuple[str, str], ...]
    svg: Markup


def write_report(
    record: JobRecord,
    store: Store,
    index: pa.Table | None,
    summary: RunSummary,
    runs: pa.Table | None,
    *,
    filters: Sequence[str] = (),
    gallery: int = 24,
) -> str:
    """The report as one HTML document that needs no network: styles, script, plots and pictures are inside.

    Args:
        record: the output's job.
        store: the output; pictures are read from it.
        index: the merged index sorted by key, or ``None`` for one too large to merge: then a few of its parts stand
            for it, and the page says so.
        summary: counts and figures of the output.
        runs: the run log, one row a committed shard.
        filters: what was applied to the output after the job, as ``keep`` expressions.
        gallery: how many samples of the even spread to show.
    """
    rows = summary.rows
    partly = index is None and rows.attempted > 0
    table = _some_parts(store, record.metric_columns) if index is None else index
    measured = [METRIC + name for name in record.metric_columns if METRIC + name in table.column_names]
    columns = [name for name in measured if table[name].null_count < table.num_rows]
    speeds = run_speeds(runs) if runs is not None and runs.num_rows else []
    price = record.spec.compute.price_per_hour
    keeps = [*([record.spec.keep] if record.spec.keep else []), *filters]
    parsed = [KeepExpression.parse(each, record.metric_columns) for each in keeps]
    shown = load_gallery(choose(table, gallery, columns), record, store)
    groups = gallery_groups(shown.pairs, _end_title)
    page = {
        "job": record,
        "name": record.spec.name,
        "facts": _facts(record, store),
        "rows": rows,
        "notes": _notes(store, summary, partly, table.num_rows, filters),
        "gallery": shown,
        "groups": groups,
        "titles": {each.id: each.title for each in groups},
        "admission": admission(table, parsed, record.label_changes.set),
        "histograms": [_histogram(table, name, summary) for name in columns],
        "unmeasured": [name.removeprefix(METRIC) for name in measured if name not in columns],
        "survival": Survival.of(record, summary),
        "dataset": sorted(summary.dataset.items()),
        "dataset_notes": summary.dataset_notes,
        "runs": speeds,
        "cost": Cost.of(speeds, price),
        "price": price,
        "ceilings": _ceilings(record, speeds),
        "rates": [_rate(speed) for speed in speeds[-_RUNS_SHOWN:]],
        "timeline": _timeline(runs, speeds[-1].run) if speeds and runs is not None else None,
        "nodes": node_spans(runs, speeds[-1].run) if speeds and runs is not None else [],
        "workers": _workers(runs) if speeds and runs is not None else None,
        "sections": [
            ("rejected", "Rejected", rows.rejected, _reasons(table, "rejected", summary, partly)),
            ("filtered", "Filtered", rows.filtered, _reasons(table, "filtered", summary, partly)),
        ],
        "keeps": keeps,
        "settings": _settings(record),
        "provenance": _provenance(record, filters),
        "partly": partly,
    }
    return render("report.html.j2", page, points(table, columns))


@dataclass(frozen=True)
class GalleryGroup:
    """One gallery that can be shown alone."""

    id: str
    title: str
    count: int


def gallery_groups(pairs: Sequence[Pair], end_title: Callable[[str, str], str]) -> list[GalleryGroup]:
    """The galleries of a page, in the order in which they come, named for people.

    Args:
        end_title: names the gallery of one end (``low`` or ``high``) of a metric.
    """
    known = {SPREAD: "across the dataset", "filtered": "filtered", "rejected": "rejected"}
    counts = Counter(group for pair in pairs for group in pair.groups)
    found = []
    for name, number in counts.items():
        end, _, metric = name.partition(":")
        found.append(GalleryGroup(name, known.get(name) or end_title(end, metric), number))
    return found


def _end_title(end: str, metric: str) -> str:
    if f"{end}:{metric}" == MOST_INVENTED:
        return "most invented objects"
    way = better(metric)
    if way is None:
        return f"{'lowest' if end == 'low' else 'highest'} {metric}"
    return f"{'best' if (end == 'high') == (way == 'higher') else 'worst'} {metric}"


def _settings(record: JobRecord) -> str:
    """The job as YAML; its local paths as they are seen from beside the output."""
    tree = tree_seen_from(beside(record.spec.output.uri), record.spec.as_tree())
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return redact(text) + "# local paths are relative to the folder that holds the output\n"


def _provenance(record: JobRecord, filters: Sequence[str]) -> str:
    """Method, weights by content, parameters and fingerprint, as YAML."""
    tree = {
        "method": record.method,
        "params": tree_seen_from(beside(record.spec.output.uri), record.params),
        "weights": list(record.weights_identity),
        "fingerprint": record.fingerprint,
        "source_format": record.source_format,
        "shard_size": record.shard_size,
        "batch_size": record.batch_size,
        **({"filters": list(filters)} if filters else {}),
    }
    return redact(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def _some_parts(store: Store, metric_columns: Sequence[str]) -> pa.Table:
    """A few index parts spread over all of them, as one table sorted by key."""
    paths = [entry.path for entry in list_parts(store)]
    if not paths:
        return index_schema(metric_columns).empty_table()
    chosen = sorted({round(n) for n in np.linspace(0, len(paths) - 1, min(len(paths), _PARTS_SAMPLED))})
    tables = [read_part(store.read(paths[n])).replace_schema_metadata(None) for n in chosen]
    return pa.concat_tables(tables).sort_by([("key", "ascending"), ("variant", "ascending")])


def _weights(record: JobRecord) -> str:
    """By name where they have one; what stands for their content is among the settings below."""
    if record.weights is not None:
        return redact(str(tree_seen_from(beside(record.spec.output.uri), record.weights)))
    return redact(", ".join(record.weights_identity)) or "none"


def _facts(record: JobRecord, store: Store) -> list[tuple[str, str]]:
    spec, image = record.spec, record.spec.output.image
    quality = "" if image.format == "png" else f", quality {image.quality}"
    facts = [
        ("method", spec.method.name),
        ("preset", spec.method.preset or "none"),
        ("weights", _weights(record)),
        ("source", ", ".join(seen_from(beside(spec.output.uri), each) for each in spec.source.uris)),
        ("output", seen_from(beside(spec.output.uri), spec.output.uri)),
        ("pictures", f"{image.format}{quality}, size of the {spec.output.size}"),
        ("seed", str(spec.seed)),
        ("fingerprint", record.fingerprint),
    ]
    if spec.variants > 1:
        facts.insert(-1, ("variants", f"{spec.variants} of every sample"))
    return facts


def _notes(store: Store, summary: RunSummary, partly: bool, sampled: int, filters: Sequence[str]) -> list[str]:
    notes = [f"Filtered after the job by: {each}" for each in filters]
    committed, planned = _progress(store)
    if planned is None:
        notes.append("The job is not finished: some source files have not been read to their end.")
    elif committed < planned:
        notes.append(
            f"The job is not finished: {planned - committed:,} of {counted(planned, 'shard')} "
            f"{does(planned - committed, 'is/are')} not committed."
        )
    notes += [f"{line[0].upper()}{line[1:]}." for line in describe_labels(summary.labels)]
    if duplicates := summary.duplicate_keys:
        notes.append(f"{counted(duplicates, 'key', 'occurs/occur')} more than once, in different source files.")
    notes += [each.text() for each in summary.findings]
    if partly:
        notes.append(
            f"The index is too large to be read whole for a report: pictures, histograms and examples come from "
            f"{sampled:,} of its {counted(summary.rows.attempted, 'row')}. Counts and means are of all rows."
        )
    return notes


def _progress(store: Store) -> tuple[int, int | None]:
    """Committed and planned shards; planned is ``None`` while a source file's number of shards is not known."""
    data = store.read_or_none(PLAN_FILE)
    if data is None:
        return 0, 0
    planned = read_small_parquet(data, ["shards"])["shards"]
    if planned.null_count:
        return 0, None
    committed = len(list_parts(store))
    return committed, int(planned.to_numpy().sum())


def _histogram(table: pa.Table, column: str, summary: RunSummary) -> Chart:
    name = column.removeprefix(METRIC)
    good = rows_with(table.select(["status", column]), "status", "ok")
    values = good[column].drop_null().to_numpy()
    found = summary.columns.get(name, ColumnFigures())
    figures = [("samples", quantity.count(found.count))]
    mean = quantity.measured(found.mean)
    if found.ci95:
        low, high = found.ci95
        mean += f" (95 %: {quantity.measured(low)} to {quantity.measured(high)})"
    figures.append(("mean", mean))
    if len(values):
        figures.append(("median", quantity.figure(float(np.median(values)))))
    figures += [("min", quantity.figure(found.min)), ("max", quantity.figure(found.max))]
    return Chart(name, tuple(figures), histogram(values, name))


def _rate(speed: RunSpeed) -> Chart:
    figures = (
        ("began", quantity.moment(speed.began)),
        ("images/s", quantity.measured(speed.mean)),
        ("images", quantity.count(speed.images)),
        ("took", quantity.duration(speed.seconds)),
        ("idle", quantity.duration(speed.idle)),
    )
    return Chart(speed.run, figures, rate(speed.seconds, speed.rates, speed.mean, f"images per second, {speed.run}"))


def _ceilings(record: JobRecord, speeds: Sequence[RunSpeed]) -> dict[str, Ceiling]:
    """What each run could have done at most, by run."""
    compute = record.spec.compute
    return {speed.run: Ceiling.of(speed, compute.dtype, compute.gpus) for speed in speeds}


def _timeline(runs: pa.Table, run: str) -> Chart:
    spans, number = shard_spans(runs, run)
    shown = len({span.worker for span in spans})
    title = f"Who worked on what, run {run}"
    workers = f"{shown} of {number:,}" if shown < number else f"{number:,}"
    return Chart(title, (("workers", workers),), timeline(spans, title))


def _workers(runs: pa.Table) -> Chart:
    rows, number = seconds_by_worker(runs)
    title = "Seconds per shard by worker"
    shown = f"{len(rows)} slowest of {number:,}" if len(rows) < number else f"{number:,}"
    return Chart(title, (("workers", shown),), spans(rows, title))


def _reasons(table: pa.Table, status: str, summary: RunSummary, partly: bool) -> list[Reason]:
    """Of the table; where that is only an excerpt, with the counts of the whole as far as they are known."""
    found = reasons(table, status)
    if not partly or status != "rejected":
        return found
    known = dict(summary.reasons)
    seen = {each.reason for each in found}
    # A reason may occur at several stages; only where it does not is the whole count its own.
    alone = {name for name in seen if sum(each.reason == name for each in found) == 1}
    whole = [
        Reason(each.reason, each.stage, known[each.reason], each.examples)
        if each.reason in alone and each.reason in known
        else each
        for each in found
    ]
    whole += [Reason(name, "", number, ()) for name, number in known.items() if name not in seen]
    return sorted(whole, key=lambda each: (-each.count, each.reason, each.stage))
