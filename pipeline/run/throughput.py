"""How fast a job's workers are, from what receipts and run logs say, and for how many of them one reader is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pipeline.records import Receipt


@dataclass(frozen=True)
class Throughput:
    """What one worker did on average; sums over ``images`` rows of the index.

    Attributes:
        worker_seconds: time of the workers from their first shard begun to their last committed.
        device_seconds: of that, inside the method.
        read_seconds, write_seconds: of reading and committing, beside the workers; 0 where that was not recorded.
        bytes_out: data files and index parts.
        origin: where the figures come from, for a person.
        tflop_per_image: 10^12 floating point operations of the method for one picture, where they were counted.
    """

    images: int
    worker_seconds: float
    device_seconds: float
    read_seconds: float
    write_seconds: float
    bytes_out: int
    origin: str
    tflop_per_image: float | None = None

    @classmethod
    def of(cls, shards: Iterable[Receipt | Mapping[str, Any]], origin: str) -> Throughput | None:
        """From receipts or rows of run logs; ``None`` where they say nothing of speed."""
        spans: dict[tuple[str, str], tuple[float, float]] = {}
        images = bytes_out = 0
        device = read = write = 0.0
        counted: list[int] = []
        for shard in shards:
            row = shard if isinstance(shard, Mapping) else _row(shard)
            worker = (row.get("run", ""), row["worker"])
            began, ended = spans.get(worker, (row["started"], row["committed"]))
            spans[worker] = (min(began, row["started"]), max(ended, row["committed"]))
            images += row["ok"] + row["filtered"] + row["rejected"]
            bytes_out += row["bytes_out"]
            device += row["device_seconds"]
            read += row.get("read_seconds") or 0.0
            write += row.get("write_seconds") or 0.0
            counted += [row["operations"]] if row.get("operations") else []
        seconds = sum(ended - began for began, ended in spans.values())
        if not images or seconds <= 0:
            return None
        each = tera(mean(counted)) if counted else None
        return cls(images, seconds, device, read, write, bytes_out, origin, each)

    @property
    def images_per_second(self) -> float:
        """Of one worker."""
        return self.images / self.worker_seconds

    @property
    def tflops(self) -> float | None:
        """10^12 floating point operations per second while the device works; ``None`` where they were not counted."""
        if self.tflop_per_image is None or self.device_seconds <= 0:
            return None
        return self.tflop_per_image * self.images / self.device_seconds

    @property
    def bytes_per_image(self) -> float:
        """Of the output."""
        return self.bytes_out / self.images

    @property
    def device_share(self) -> float:
        """The share of a worker's time in which its device works, 0 to 1."""
        return min(1.0, self.device_seconds / self.worker_seconds)

    @property
    def fed_by_one_reader(self) -> float | None:
        """How many workers one reading process keeps busy; ``None`` where that was not recorded."""
        return self._beside(self.read_seconds)

    @property
    def emptied_by_one_writer(self) -> float | None:
        """How many workers' shards one writing process commits; ``None`` where that was not recorded."""
        return self._beside(self.write_seconds)

    def _beside(self, seconds: float) -> float | None:
        return self.worker_seconds / seconds if seconds > 0 else None


def _row(receipt: Receipt) -> dict[str, Any]:
    names = ("worker", "started", "committed", "ok", "filtered", "rejected", "bytes_out")
    more = ("device_seconds", "read_seconds", "write_seconds", "operations")
    return {name: getattr(receipt, name) for name in (*names, *more)}


def tera(operations: float | None) -> float | None:
    """In units of 10^12."""
    return None if operations is None else operations / 1e12
