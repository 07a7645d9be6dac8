"""How much there is to do, before doing it: counted where that is cheap, extrapolated where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.run.throughput import Throughput
from pipeline.runlog import read_runs
from pipeline.storage import Store, Unreachable, protocol_of

_COUNTED, _COUNTED_AFAR = 16, 1


@dataclass(frozen=True)
class Amount:
    """Samples and shards of a plan; ``exact`` when every source file was counted, else by size from those that were.

    ``left`` are the samples that are in no committed shard.
    """

    samples: int
    shards: int
    exact: bool
    left: int


def count(job: Job, plan: Plan) -> Amount:
    """Count the first source files: sixteen of them, of tars in a bucket one.

    Skipping through the headers of a tar in a bucket costs most of a download.
    """
    source, limit = job.source(), job.spec.source.limit
    counts: dict[str, int] = {}
    opened = 0
    for each in plan.files:
        known = each.file.samples
        cheap = job.source_format != "webdataset" or protocol_of(each.file.uri) == "file"
        if known is None and opened < (_COUNTED if cheap else _COUNTED_AFAR):
            opened += 1
            try:
                known = source.count(each.file)
            except Unreachable:
                raise
            except Exception:
                # The run will list this file as a rejected sample.
                known = 1
        if known is not None:
            counts[each.file.relative] = known if limit is None else min(known, limit)
    exact = len(counts) == len(plan.files)
    total = sum(counts.values())
    if exact:
        shards = sum(max(1, math.ceil(n / job.shard_size)) for n in counts.values())
        done = {each.file.relative: len(each.done) * job.shard_size for each in plan.files}
        return Amount(total, shards, True, sum(max(0, n - done[name]) for name, n in counts.items()))
    seen = sum(each.file.size for each in plan.files if each.file.relative in counts)
    total = round(total * sum(each.file.size for each in plan.files) / max(1, seen))
    shards = max(len(plan.files), math.ceil(total / job.shard_size))
    return Amount(total, shards, False, max(0, total - plan.committed * job.shard_size))


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan. What nothing is known of is ``None``, never 0.

    Attributes:
        rows_left: samples times variants that are not committed.
        bytes_in: of all source files; ``bytes_out`` of what is left.
        speed: of one worker.
        seconds: with so many ``workers``, once they have started.
        device_hours: time of all workers, with as many devices as each has (without GPUs, of workers).
        price: of these hours, in the currency that was given.
    """

    amount: Amount
    rows_left: int
    bytes_in: int
    workers: int
    speed: Throughput | None = None
    bytes_out: int | None = None
    seconds: float | None = None
    device_hours: float | None = None
    price: float | None = None

    def as_tree(self) -> dict[str, Any]:
        """JSON-ready."""
        speed = self.speed
        return {
            "exact": self.amount.exact,
            "samples": self.amount.samples,
            "rows_left": self.rows_left,
            "shards": self.amount.shards,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "images_per_second_per_worker": None if speed is None else speed.images_per_second,
            "device_share": None if speed is None else speed.device_share,
            "workers_per_reader": None if speed is None else speed.fed_by_one_reader,
            "workers_per_writer": None if speed is None else speed.emptied_by_one_writer,
            "tflop_per_image": None if speed is None else speed.tflop_per_image,
            "tflops": None if speed is None else speed.tflops,
            "seconds": self.seconds,
            "device_hours": self.device_hours,
            "price": self.price,
            "speed_from": None if speed is None else speed.origin,
        }


def estimate(
    job: Job, plan: Plan, workers: int, speed: Throughput | None = None, price_per_hour: float | None = None
) -> Estimate:
    """What is left of a plan, in bytes, time and money.

    Args:
        workers: how many there will be at most.
        speed: of one worker; by default that of earlier runs of the same output, if there are any.
        price_per_hour: of one device, or of one worker on CPUs.
    """
    amount = count(job, plan)
    rows = amount.left * job.spec.variants
    speed = speed or recorded(job.store)
    # A worker without a shard has nothing to do.
    busy = max(1, min(workers, amount.shards - plan.committed))
    seconds = None if speed is None else rows / (speed.images_per_second * busy)
    hours = None if seconds is None else seconds * workers * (job.spec.compute.gpus or 1) / 3600
    return Estimate(
        amount=amount,
        rows_left=rows,
        bytes_in=sum(each.file.size for each in plan.files),
        bytes_out=None if speed is None else round(speed.bytes_per_image * rows),
        speed=speed,
        workers=workers,
        seconds=seconds,
        device_hours=hours,
        price=None if hours is None or price_per_hour is None else hours * price_per_hour,
    )


def recorded(store: Store, origin: str = "earlier runs of this output") -> Throughput | None:
    """The speed of the runs of an output; ``None`` where it has none. ``origin`` says whose they are."""
    return Throughput.of(read_runs(store).to_pylist(), origin)
