"""Why samples are not in the data: reasons with counts and a few examples."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pipeline.quantity import measured
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import rows_with

EXAMPLES = 3
_LONGEST = 300


@dataclass(frozen=True)
class Example:
    """One sample: its key, what was said of it, and what was measured of it."""

    key: str
    message: str
    values: str


@dataclass(frozen=True)
class Reason:
    """Samples with one reason and stage in common."""

    reason: str
    stage: str
    count: int
    examples: tuple[Example, ...]


def reasons(table: pa.Table, status: str) -> list[Reason]:
    """The reasons of all rows with this status (``rejected`` or ``filtered``), most frequent first."""
    metrics = [name for name in table.column_names if name.startswith(METRIC)]
    table = table.select(["key", "status", "error", "stage", "message", *metrics])
    table = rows_with(table, "status", status)
    groups = table.group_by(["error", "stage"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    found = []
    for group in groups:
        error, stage = group["error"], group["stage"]
        rows = rows_with(rows_with(table, "error", error), "stage", stage).slice(0, EXAMPLES).to_pylist()
        examples = tuple(Example(row["key"], _short(row["message"]), _values(row, metrics)) for row in rows)
        found.append(Reason(error or "unknown", stage or "unknown", group["count_all"], examples))
    return sorted(found, key=lambda each: (-each.count, each.reason, each.stage))


def _short(message: str | None) -> str:
    message = message or ""
    return message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"


def _values(row: dict, metrics: list[str]) -> str:
    pairs = ((name.removeprefix(METRIC), row[name]) for name in metrics)
    return ", ".join(f"{name} {measured(value)}" for name, value in pairs if value is not None)
