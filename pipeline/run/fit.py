"""Whether the workers of a job fit where it would run, said before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipeline.job import Job
from pipeline.run.graph import default_workers


@dataclass(frozen=True)
class Fit:
    """Workers of a job against the machine.

    Attributes:
        workers: (least, most).
        where: what is known of the place, for a person.
        problem: what is short and what to set, or ``None``.
    """

    workers: tuple[int, int]
    where: str
    problem: str | None = None


def fit(job: Job) -> Fit:
    """Compare; a cluster elsewhere is asked when the run begins."""
    compute = job.spec.compute
    least, most = workers = default_workers(job)
    address = compute.address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        return Fit(workers, f"on the cluster {address}, which is asked for room when the run begins")
    cores = os.cpu_count() or 1
    if compute.gpus > 0:
        import torch

        found = torch.cuda.device_count()
        where = f"of {compute.gpus:g} GPUs, this machine has {found}"
        if least * compute.gpus <= found:
            return Fit(workers, where)
        if not found:
            return Fit(workers, where, "there is no GPU here: set compute.gpus: 0, or give compute.address")
        return Fit(workers, where, f"set compute.workers to {max(1, int(found / compute.gpus))}")
    busy = most * max(compute.cpus, compute.torch_threads)
    where = f"of {compute.cpus:g} CPUs on this machine's {cores} cores, reading and writing beside them"
    if busy <= cores:
        return Fit(workers, where)
    threads = f" with {compute.torch_threads} torch threads each" if compute.torch_threads > 1 else ""
    room = max(1, int(cores / max(compute.cpus, compute.torch_threads)))
    return Fit(workers, where, f"{most} workers{threads} take turns on {cores} cores: {room} would be as fast")
