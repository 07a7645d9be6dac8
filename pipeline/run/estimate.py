"""How much there is to do, before doing it: counted where that is cheap, extrapolated where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.runlog import read_runs
from pipeline.storage import Unreachable, protocol_of

_COUNTED, _COUNTED_AFAR = 16, 1


@dataclass(frozen=True)
class Amount:
    """Samples and shards of a plan; ``exact`` when every source file was counted, else by size from those that were."""

    samples: int
    shards: int
    exact: bool


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
        return Amount(total, sum(max(1, math.ceil(n / job.shard_size)) for n in counts.values()), True)
    seen = sum(each.file.size for each in plan.files if each.file.relative in counts)
    total = round(total * sum(each.file.size for each in plan.files) / max(1, seen))
    return Amount(total, max(len(plan.files), math.ceil(total / job.shard_size)), False)


def estimate(job: Job, plan: Plan) -> dict[str, Any]:
    """Samples, shards, bytes and seconds of a plan.

    The time comes from earlier runs of the same output, if there are any: it is for as many workers as those had.
    """
    amount = count(job, plan)
    left = 1 - plan.committed / max(1, amount.shards)
    rate = _earlier_rate(job)
    rows = amount.samples * job.spec.variants
    return {
        "exact": amount.exact,
        "samples": amount.samples,
        "rows": rows,
        "shards": amount.shards,
        "bytes_in": sum(each.file.size for each in plan.files),
        "seconds": None if rate is None else rows * max(0.0, left) / rate,
        "seconds_from": None if rate is None else f"earlier runs of this output ({rate:.1f} images/s)",
    }


def _earlier_rate(job: Job) -> float | None:
    runs = read_runs(job.store).to_pylist()
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in runs:
        by_run.setdefault(row["run"], []).append(row)
    images = seconds = 0.0
    for rows in by_run.values():
        images += sum(row["ok"] + row["filtered"] + row["rejected"] for row in rows)
        seconds += max(row["committed"] for row in rows) - min(row["started"] for row in rows)
    return images / seconds if seconds > 0 else None
