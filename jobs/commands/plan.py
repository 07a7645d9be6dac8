"""`sceneshift plan`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from pipeline import quantity
from pipeline.job import Job
from pipeline.run.cluster import capacity
from pipeline.run.driver import resolve
from pipeline.run.estimate import estimate
from pipeline.run.graph import demand_of
from pipeline.run.label_check import check_labels
from pipeline.spec import JobSpec
from pipeline.storage import redact
from pipeline.translate.labelling import job_table


def plan_command(console: Console, path: Path, overrides: list[str]) -> int:
    """Print what a run would do; writes nothing anywhere."""
    spec = JobSpec.load(path, overrides)
    job, plan = resolve(spec)
    guess, room = estimate(job, plan), capacity(demand_of(job))
    warnings = [*job.notes, *check_labels(job, plan), *plan.notes()]
    tree = {
        "name": spec.name,
        "source": [redact(uri) for uri in spec.source.uris],
        "format": job.source_format,
        "layout": job.layout.model_dump(mode="json"),
        "method": job.method_label,
        "weights": job.weights_identity,
        "fingerprint": job.fingerprint,
        "output": redact(job.store.uri()),
        "source_files": len(plan.files),
        "shard_size": job.shard_size,
        "batch_size": job.batch_size,
        "shards_committed": plan.committed,
        "workers": list(room.workers),
        "fits": room.problem is None,
        "warnings": warnings,
        "findings": [finding.as_dict() for finding in plan.findings],
        **guess,
    }
    console.result(tree)
    approx = "" if guess["exact"] else "about "
    rows = [
        ("source", f"{len(plan.files)} {_format(job)} files, {approx}{guess['samples']} samples"),
        ("pictures", f"'{job.layout.image}'" + (f", true target '{job.layout.target}'" if job.layout.target else "")),
        ("labels", _labels(job)),
        ("carried", ", ".join([*job.layout.masks, *job.layout.carry]) or "nothing more"),
        ("method", f"{job.method_label} on {job.device}, batches of {job.batch_size}"),
        ("workers", f"{_range(room.workers)} {room.where}"),
        ("output", redact(job.store.uri())),
        ("shards", f"{approx}{guess['shards']} of {job.shard_size} samples; {plan.committed} committed already"),
        ("bytes to read", f"{approx}{quantity.size(guess['bytes_in'])}"),
        ("fingerprint", job.fingerprint),
    ]
    if guess["seconds"] is not None:
        rows.insert(-1, ("time", f"about {quantity.duration(guess['seconds'])}, from {guess['seconds_from']}"))
    else:
        rows.insert(-1, ("time", "not known before a first run of this output; try one with --set source.limit=32"))
    console.table(["", spec.name], rows)
    for warning in warnings:
        console.problem(f"note: {warning}")
    for uri in plan.changed:
        console.note(f"{redact(uri)} changed since its shards were made")
    for finding in plan.findings:
        console.note(finding.text())
    if room.problem:
        console.note(room.problem)
    return DONE


def _labels(job: Job) -> str:
    """Where labels come from, and how many there are; ``none`` where nothing holds any."""
    table = job_table(job)
    if table is None:
        member = job.layout.labels
        return "none" if member is None else f"'{member}' of each sample, where it holds labels"
    try:
        return f"{redact(job.spec.source.labels.uri or '')} ({table.info.format}), of {len(table)} pictures"
    finally:
        table.close()


def _format(job: Job) -> str:
    delimiter = job.layout.delimiter
    return f"{job.source_format} ({delimiter} between columns)" if delimiter else job.source_format


def _range(workers: tuple[int, int]) -> str:
    return str(workers[0]) if workers[0] == workers[1] else f"{workers[0]} to {workers[1]}"
