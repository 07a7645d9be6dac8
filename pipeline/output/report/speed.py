"""What the run log says about speed: throughput of each run over time, and how long workers take for a shard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.small_parquet import rows_with

MOST_BINS = 120


@dataclass(frozen=True)
class RunSpeed:
    """One run of the job.

    Attributes:
        began: Unix time at which the first shard was begun; start-up lies before it.
        seconds: from then until the last shard was committed.
        idle: seconds in between in which no shard was in work anywhere.
        rates: images a second, one value for each of ``len(rates)`` equal slices of the run.
        busy: device seconds as a share of (workers x seconds).
    """

    run: str
    began: float
    seconds: float
    idle: float
    shards: int
    images: int
    workers: int
    bytes_in: int
    bytes_out: int
    busy: float
    rates: np.ndarray

    @property
    def mean(self) -> float:
        """Images a second over the whole run."""
        return self.images / max(self.seconds, 1e-9)


def run_speeds(runs: pa.Table) -> list[RunSpeed]:
    """Every run in the log, oldest first."""
    names = sorted(runs["run"].unique().to_pylist())
    return [_speed(name, rows_with(runs, "run", name)) for name in names]


def _speed(name: str, rows: pa.Table) -> RunSpeed:
    columns = {column: rows[column].to_numpy() for column in ("started", "committed", "ok", "filtered", "rejected")}
    started, committed = columns["started"], columns["committed"]
    images = columns["ok"] + columns["filtered"] + columns["rejected"]
    began, ended = float(started.min()), float(committed.max())
    workers = len(rows["worker"].unique())
    # Slices much shorter than a shard would show the spread of a shard's images over its time, which is our assumption.
    bins = min(MOST_BINS, max(12, 3 * rows.num_rows // max(1, workers)))
    return RunSpeed(
        run=name,
        began=began,
        seconds=ended - began,
        idle=idle_seconds(started, committed),
        shards=rows.num_rows,
        images=int(images.sum()),
        workers=workers,
        bytes_in=int(rows["bytes_in"].to_numpy().sum()),
        bytes_out=int(rows["bytes_out"].to_numpy().sum()),
        busy=float(rows["device_seconds"].to_numpy().sum()) / max(1e-9, workers * (ended - began)),
        rates=rates(started - began, committed - began, images, ended - began, bins),
    )


def rates(started: np.ndarray, ended: np.ndarray, images: np.ndarray, seconds: float, bins: int) -> np.ndarray:
    """Images a second in ``bins`` equal slices of [0, seconds]; a shard's images are spread evenly over its time.

    The slices add up to all images: nothing is lost at the edges.
    """
    if seconds <= 0:
        return np.zeros(bins)
    edges = np.linspace(0, seconds, bins + 1)
    # How many images are done at each edge: for one shard a ramp from its start to its end.
    done = np.zeros(bins + 1)
    for begin, end, number in zip(started, np.maximum(ended, started + 1e-9), images, strict=True):
        first, last = np.searchsorted(edges, (begin, end), side="right")
        done[first:last] += number * (edges[first:last] - begin) / (end - begin)
        done[last:] += number
    done[-1] = images.sum()
    return np.maximum(np.diff(done), 0) / (seconds / bins)


def idle_seconds(started: np.ndarray, ended: np.ndarray) -> float:
    """Seconds between the first start and the last end in which nothing was in work."""
    order = np.argsort(started, kind="stable")
    begin, reach = started[order], np.maximum.accumulate(ended[order])
    return float(np.maximum(begin[1:] - reach[:-1], 0).sum())


def seconds_by_worker(runs: pa.Table, most: int = 16) -> tuple[list[tuple[str, np.ndarray]], int]:
    """(worker, seconds of each of its shards), the slowest ``most`` by median, and how many workers there are."""
    seconds = runs["committed"].to_numpy() - runs["started"].to_numpy()
    encoded = runs["worker"].combine_chunks().dictionary_encode()
    names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    pieces = np.split(seconds[order], np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
    rows = sorted(zip(names, pieces, strict=True), key=lambda row: (-float(np.median(row[1])), row[0]))
    return rows[:most], len(names)
