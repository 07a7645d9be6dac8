"""Choosing which pictures to show: an even spread over the dataset, and both ends of a metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.small_parquet import rows_with

SPREAD_SHARDS = 6
_EXTREMES = 3


@dataclass(frozen=True)
class Choice:
    """An index row, and why it was chosen (empty for one of the even spread)."""

    row: dict[str, Any]
    why: str = ""


def choose(table: pa.Table, count: int, metric: str | None = None) -> list[Choice]:
    """At most ``count`` ok rows of an index sorted by key: spread evenly by key, then the ends of ``metric``.

    The spread comes from at most six shards, and the ends from at most six more, so that few files have to be opened.
    ``metric`` is a column name of the table.
    """
    numbered = pa.table({"status": table["status"], "at": np.arange(table.num_rows)})
    positions = rows_with(numbered, "status", "ok")["at"].to_numpy()
    if not len(positions) or count < 1:
        return []
    ends: list[tuple[int, str]] = []
    if metric is not None and len(positions) > count:
        ends = _ends(table, positions, metric, min(_EXTREMES, count // 6))
    pool = _few_shards(table, positions)
    pool = pool[~np.isin(pool, [position for position, _ in ends])]
    even = pool[_even(len(pool), count - len(ends))]
    chosen = [(int(position), "") for position in even] + ends
    rows = table.take([position for position, _ in chosen]).to_pylist()
    return [Choice(row, why) for row, (_, why) in zip(rows, chosen, strict=True)]


def _even(length: int, count: int) -> np.ndarray:
    """``count`` different indices spread evenly over ``length``; all of them if there are no more."""
    return np.arange(length) if length <= count else np.linspace(0, length - 1, count).round().astype(np.int64)


def _few_shards(table: pa.Table, positions: np.ndarray) -> np.ndarray:
    """Of these rows, those that lie in a few shards which are themselves spread evenly."""
    encoded = table["shard"].take(positions).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    shards = _even(len(encoded.dictionary), SPREAD_SHARDS)
    return positions[np.isin(codes, shards)]


def _ends(table: pa.Table, positions: np.ndarray, metric: str, each: int) -> list[tuple[int, str]]:
    values = table[metric].take(positions).to_numpy()
    known = np.isfinite(values)
    values, positions = values[known], positions[known]
    if each < 1 or len(values) < 2 * each:
        return []
    order = np.lexsort((positions, values))
    name = metric.removeprefix("metric.")
    low = [(int(p), f"lowest {name}") for p in positions[order[:each]]]
    return low + [(int(p), f"highest {name}") for p in positions[order[::-1][:each]]]
