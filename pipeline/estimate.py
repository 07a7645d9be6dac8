"""How much there is to do, before doing it: counted where that is cheap, extrapolated where it is not."""

from __future__ import annotations

import math
import tarfile
from typing import Any

import pyarrow as pa

from pipeline.job import Job
from pipeline.plan import Plan
from pipeline.runlog import read_runs

_COUNTED_FILES = 16


def estimate(job: Job, plan: Plan) -> dict[str, Any]:
    """Samples, shards, bytes and seconds of a plan.

    ``exact`` says whether every source file was counted. The time comes from earlier runs of the same output, if there
    are any; it is for one worker at a time as fast as those were together.
    """
    source = job.source()
    counts: dict[str, int] = {}
    for each in plan.files:
        known = each.file.samples
        if known is None and len(counts) < _COUNTED_FILES:
            try:
                known = source.count(each.file)
            except (tarfile.TarError, pa.ArrowException, EOFError, OSError):
                # The run will list this file as a rejected sample.
                known = 1
        if known is not None:
            counts[each.file.relative] = known if job.spec.source.limit is None else min(known, job.spec.source.limit)
    exact = len(counts) == len(plan.files)
    counted_bytes = sum(each.file.size for each in plan.files if each.file.relative in counts)
    all_bytes = sum(each.file.size for each in plan.files)
    total = sum(counts.values())
    if not exact:
        total = round(total * all_bytes / max(1, counted_bytes))
    if exact:
        shards = sum(max(1, math.ceil(n / job.shard_size)) for n in counts.values())
    else:
        shards = max(len(plan.files), math.ceil(total / job.shard_size))
    left = 1 - plan.committed / max(1, shards)
    rate = _earlier_rate(job)
    return {
        "exact": exact,
        "samples": total,
        "rows": total * job.spec.variants,
        "shards": shards,
        "bytes_in": all_bytes,
        "seconds": None if rate is None else total * job.spec.variants * max(0.0, left) / rate,
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
