"""Choosing which pictures to show: an even spread over the dataset, both ends of each metric, and what was not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.small_parquet import rows_with

SPREAD_SHARDS = 6
SPREAD = "spread"
INVENTED = "metric.labels.invented"
"""The column of an index that counts objects which a translation made out of nothing."""
MOST_INVENTED = "high:labels.invented"
_EXTREMES, _METRICS = 4, 4
_LEFT_OUT = {"filtered": 8, "rejected": 8}


@dataclass(frozen=True)
class Choice:
    """An index row, and in which galleries it stands.

    Attributes:
        groups: names of galleries: ``spread``, ``low:METRIC``, ``high:METRIC``, ``filtered``, ``rejected``.
    """

    row: dict[str, Any]
    groups: tuple[str, ...]


def choose(table: pa.Table, count: int, metrics: Sequence[str] = ()) -> list[Choice]:
    """Rows of an index sorted by key, each once, in the order of the galleries that they are for.

    ``count`` of the ok rows are spread evenly by key, from at most six shards, so that few files have to be opened;
    then come the four lowest and highest of the first four of ``metrics`` (column names of the table), the four with
    the most invented objects, and eight rows each that were filtered and rejected, as different in their reasons as
    there are.
    """
    if count < 1:
        return []
    groups: dict[int, list[str]] = {}
    positions = _with_status(table, "ok")
    if len(positions):
        pool = _few_shards(table, positions)
        for position in pool[_even(len(pool), count)]:
            groups.setdefault(int(position), []).append(SPREAD)
        each = min(_EXTREMES, max(1, count // 6))
        for metric in [name for name in metrics if name != INVENTED][:_METRICS]:
            for position, group in _ends(table, positions, metric, each):
                groups.setdefault(position, []).append(group)
        if INVENTED in metrics:
            for position in _most_invented(table, positions, each):
                groups.setdefault(position, []).append(MOST_INVENTED)
    for status, most in _LEFT_OUT.items():
        for position in _different(table, _with_status(table, status), most):
            groups.setdefault(int(position), []).append(status)
    rows = table.take(pa.array(groups, pa.int64())).to_pylist()
    return [Choice(row, tuple(names)) for row, names in zip(rows, groups.values(), strict=True)]


def _with_status(table: pa.Table, status: str) -> np.ndarray:
    numbered = pa.table({"status": table["status"], "at": np.arange(table.num_rows)})
    return rows_with(numbered, "status", status)["at"].to_numpy()


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
    each = min(each, len(values) // 2)
    order = np.lexsort((positions, values))
    name = metric.removeprefix("metric.")
    low = [(int(p), f"low:{name}") for p in positions[order[:each]]]
    return low + [(int(p), f"high:{name}") for p in positions[order[::-1][:each]]]


def _most_invented(table: pa.Table, positions: np.ndarray, most: int) -> list[int]:
    """Those with the most of them first; none without any."""
    values = table[INVENTED].take(positions).to_numpy()
    order = np.argsort(-np.where(np.isfinite(values), values, 0), kind="stable")
    return [int(positions[at]) for at in order[:most] if values[at] > 0]


def _different(table: pa.Table, positions: np.ndarray, most: int) -> list[int]:
    """The first rows of every reason in turn, at most ``most``."""
    if not len(positions):
        return []
    by_reason: dict[Any, list[int]] = {}
    for position, reason in zip(positions, table["error"].take(positions).to_pylist(), strict=True):
        kept = by_reason.setdefault(reason, [])
        if len(kept) < most:
            kept.append(int(position))
    ranked = [(rank, position) for kept in by_reason.values() for rank, position in enumerate(kept)]
    return [position for _, position in sorted(ranked)[:most]]
