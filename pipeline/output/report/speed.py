"""What the run log says about speed: throughput of each run over time, and how long workers take for a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        rates: images per second, one value for each of ``len(rates)`` equal slices of the run.
        device_seconds: in which a batch was on a device, added up over all workers.
        tflop_per_image: 10^12 floating point operations of the method for one picture; ``None`` where they were not
            counted.
        devices: workers by the name of their device, which is empty where it was not recorded.
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
    device_seconds: float
    rates: np.ndarray
    tflop_per_image: float | None = None
    devices: Mapping[str, int] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Images per second over the whole run."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def busy(self) -> float:
        """Device seconds as a share of (workers x seconds)."""
        return self.device_seconds / max(1e-9, self.workers * self.seconds)

    @property
    def unhindered(self) -> float | None:
        """Images per second if no device had ever waited: the method alone; ``None`` where that was not recorded."""
        return self.images * self.workers / self.device_seconds if self.device_seconds > 0 else None

    @property
    def worker_seconds(self) -> float:
        """Seconds that were paid for: all workers, from the first shard begun to the last committed."""
        return self.workers * self.seconds


@dataclass(frozen=True)
class Cost:
    """What 1,000 images took, over all runs of an output.

    Attributes:
        device_seconds: with a batch on a device.
        worker_seconds: of workers, busy or waiting; start-up is not in it.
        money: of the worker seconds, at a price per worker and hour; ``None`` where no price is given.
    """

    device_seconds: float
    worker_seconds: float
    money: float | None = None

    @classmethod
    def of(cls, runs: Sequence[RunSpeed], price_per_hour: float | None = None) -> Cost | None:
        """The cost of these runs; ``None`` for runs without a single image."""
        images = sum(run.images for run in runs)
        if not images:
            return None
        device = 1000 * sum(run.device_seconds for run in runs) / images
        worker = 1000 * sum(run.worker_seconds for run in runs) / images
        return cls(device, worker, None if price_per_hour is None else worker / 3600 * price_per_hour)


@dataclass(frozen=True)
class ShardSpan:
    """One shard on the time line of a run: seconds since the run's first shard was begun."""

    worker: str
    shard: str
    started: float
    translated: float
    committed: float
    images: int


def shard_spans(runs: pa.Table, run: str, most_workers: int = 16) -> tuple[list[ShardSpan], int]:
    """The shards of a run by worker and time, of at most sixteen workers, and how many workers there were."""
    rows = rows_with(runs, "run", run).to_pylist()
    began = min((row["started"] for row in rows), default=0.0)
    workers = sorted({row["worker"] for row in rows})
    shown = set(workers[:most_workers])
    spans = [
        ShardSpan(
            row["worker"],
            row["shard"],
            row["started"] - began,
            row["translated"] - began,
            row["committed"] - began,
            row["ok"] + row["filtered"] + row["rejected"],
        )
        for row in rows
        if row["worker"] in shown
    ]
    return sorted(spans, key=lambda span: (span.worker, span.started)), len(workers)


@dataclass(frozen=True)
class NodeSpan:
    """One machine on the time line of a run: seconds since the run's first shard was begun.

    Attributes:
        joined: its first shard was begun.
        last: its last shard was committed.
        workers: processes, those that took the place of one that died among them.
    """

    node: str
    joined: float
    last: float
    workers: int
    shards: int
    images: int


def node_spans(runs: pa.Table, run: str) -> list[NodeSpan]:
    """The machines of a run, in the order in which they joined."""
    by_node: dict[str, list[dict[str, Any]]] = {}
    rows = rows_with(runs, "run", run).to_pylist()
    for row in rows:
        by_node.setdefault(row["worker"].rpartition(":")[0], []).append(row)
    began = min((row["started"] for row in rows), default=0.0)
    spans = [
        NodeSpan(
            node,
            min(row["started"] for row in own) - began,
            max(row["committed"] for row in own) - began,
            len({row["worker"] for row in own}),
            len(own),
            sum(row["ok"] + row["filtered"] + row["rejected"] for row in own),
        )
        for node, own in by_node.items()
    ]
    return sorted(spans, key=lambda span: (span.joined, span.node))


def run_speeds(runs: pa.Table) -> list[RunSpeed]:
    """Every run in the log, oldest first."""
    names = sorted(runs["run"].unique().to_pylist())
    return [_speed(name, rows_with(runs, "run", name)) for name in names]


def _speed(name: str, rows: pa.Table) -> RunSpeed:
    columns = {column: rows[column].to_numpy() for column in ("started", "committed", "ok", "filtered", "rejected")}
    started, committed = columns["started"], columns["committed"]
    images = columns["ok"] + columns["filtered"] + columns["rejected"]
    began, ended = float(started.min()), float(committed.max())
    devices = dict(zip(rows["worker"].to_pylist(), rows["device"].to_pylist(), strict=True))
    workers = len(devices)
    operations = rows["operations"].drop_null().to_numpy()
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
        device_seconds=float(rows["device_seconds"].to_numpy().sum()),
        rates=rates(started - began, committed - began, images, ended - began, bins),
        tflop_per_image=float(operations.mean()) / 1e12 if len(operations) else None,
        devices=Counter(name or "" for name in devices.values()),
    )


def rates(started: np.ndarray, ended: np.ndarray, images: np.ndarray, seconds: float, bins: int) -> np.ndarray:
    """Images per second in ``bins`` equal slices of [0, seconds]; a shard's images are spread evenly over its time.

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
