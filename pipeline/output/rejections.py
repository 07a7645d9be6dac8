"""Why samples are not in the data and what failed: reasons with counts and keys, and the first traceback of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.logs.lines import LogLine, read_lines
from pipeline.map_ahead import map_ahead
from pipeline.paths import LOGS
from pipeline.sink.index import list_parts
from pipeline.sink.note import read_note
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.storage import Store

KEYS = 3
_COLUMNS = ["key", "status", "error", "stage", "message"]


@dataclass(frozen=True)
class Trace:
    """One first traceback: where it was raised, what was said, its text and the log file it stands in."""

    place: str
    message: str
    key: str
    text: str
    file: str


@dataclass
class RejectionReason:
    """Rejected rows with one stage and reason in common, or (``failure``) steps that could not be done.

    Attributes:
        count: rows of the index; of failures, lines in the logs.
        keys: the first three samples, or shards and files that failed.
        traces: one per place in the code, of all runs of the output whose logs are kept.
    """

    stage: str
    reason: str
    message: str
    failure: bool = False
    count: int = 0
    keys: list[str] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)


def rejection_reasons(store: Store) -> list[RejectionReason]:
    """Reasons of rejected rows, the most frequent first, then failures; from index parts and log files alone.

    Only parts that have rejected rows are read, one at a time.
    """
    found: dict[tuple[str, str], RejectionReason] = {}
    for row in _rejected_rows(store):
        known = found.setdefault(
            (row["stage"], row["error"]), RejectionReason(row["stage"], row["error"], row["message"])
        )
        known.count += 1
        if len(known.keys) < KEYS:
            known.keys.append(row["key"])
    failures: dict[tuple[str, str], RejectionReason] = {}
    for file, line in _faults(store):
        kind = (line.fields["stage"], line.fields["reason"])
        reason = found.get(kind)
        if line.level == "ERROR":
            reason = failures.setdefault(kind, RejectionReason(*kind, line.message, failure=True))
            reason.count += 1
            if len(reason.keys) < KEYS and (where := line.fields.get("shard")) and where not in reason.keys:
                reason.keys.append(where)
        place = line.fields.get("place", "")
        if reason is not None and line.traceback and place not in [trace.place for trace in reason.traces]:
            trace = Trace(place, line.message, line.fields.get("key", ""), line.traceback, store.uri(file))
            reason.traces.append(trace)
    ordered = sorted(found.values(), key=lambda each: (-each.count, each.stage, each.reason))
    return [*ordered, *failures.values()]


def _rejected_rows(store: Store) -> Iterator[dict[str, str]]:
    paths = [entry.path for entry in list_parts(store)]
    for _, data in map_ahead(store.read, paths):
        if read_note(data).rejected:
            table = read_small_parquet(data, _COLUMNS)
            yield from rows_with(table, "status", "rejected").to_pylist()


def _faults(store: Store) -> Iterator[tuple[str, LogLine]]:
    """(log file, line) of every fault in the logs, by run and worker."""
    for entry in store.list(LOGS):
        if entry.path.endswith(".log"):
            for line in read_lines(store.read(entry.path).decode("utf-8", "replace")):
                if {"stage", "reason"} <= line.fields.keys():
                    yield entry.path, line
