"""The values behind the scatter plot: a bounded, even choice of samples with all their metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.sink.schema import METRIC

MOST_POINTS = 1500
_STATUSES = ("ok", "filtered")
_LONGEST_KEY = 80


def points(table: pa.Table, metrics: Sequence[str]) -> dict[str, Any]:
    """Names of the metrics, and a row per point: key, whether it was kept, and a value per metric (4 digits or null).

    Args:
        table: an index sorted by key.
        metrics: column names; fewer than two make no scatter plot, then there are no points.
    """
    if len(metrics) < 2:
        return {"metrics": [], "rows": []}
    status = np.asarray(table["status"].to_pylist(), dtype=object)
    rows = np.flatnonzero(np.isin(status, _STATUSES))
    if len(rows) > MOST_POINTS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(np.int64)]
    chosen = table.select(["key", "status", *metrics]).take(rows)
    columns = [[_short(value) for value in chosen[name].to_pylist()] for name in metrics]
    keys = [key[:_LONGEST_KEY] for key in chosen["key"].to_pylist()]
    kept = [int(each == "ok") for each in chosen["status"].to_pylist()]
    return {
        "metrics": [name.removeprefix(METRIC) for name in metrics],
        "rows": [list(row) for row in zip(keys, kept, *columns, strict=True)],
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
