"""`sceneshift plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from methods.counting import counted
from methods.errors import InputError
from pipeline import quantity
from pipeline.devices import Device, Precision, device_named, recognised
from pipeline.job import Job
from pipeline.run.cluster import capacity
from pipeline.run.estimate import Estimate, estimate, recorded
from pipeline.run.graph import demand_of
from pipeline.run.label_check import check_labels
from pipeline.run.resolving import Resolved
from pipeline.run.targets import resolve_targets
from pipeline.run.throughput import Throughput
from pipeline.spec import JobSpec
from pipeline.storage import redact
from pipeline.translate.labelling import job_table


def plan_command(
    console: Console,
    path: Path,
    overrides: list[str],
    *,
    samples: int | None,
    like: str | None,
    price: float | None,
    on: str | None = None,
) -> int:
    """Print what a run would do; writes nothing to the output.

    Args:
        samples: translate so many first, to know the speed.
        like: another output, whose runs tell the speed.
        price: of an hour of one device.
        on: name of a GPU, by default that of this machine: how many images per second it can make at most is said.
    """
    spec = JobSpec.load(path, overrides)
    device = None if on is None else device_named(on)
    if device is not None and samples is None:
        raise InputError("--on needs --calibrate, which counts the operations of a picture")
    outputs = resolve_targets(spec) if spec.targets else {"": Resolved.of(spec)}
    trees = {name: _planned(console, each, samples, like, price, device) for name, each in outputs.items()}
    console.result({"targets": trees} if spec.targets else trees[""])
    return DONE


def _planned(
    console: Console,
    resolved: Resolved,
    samples: int | None,
    like: str | None,
    price: float | None,
    device: Device | None,
) -> dict[str, Any]:
    """What a run would do for one output: said, and as a tree."""
    job, plan, spec = resolved.job, resolved.plan, resolved.job.spec
    room = capacity(demand_of(job))
    speed = None
    if samples is not None:
        from pipeline.run.calibrate import calibrate

        speed = calibrate(job, plan, samples)
        device = device or _own_device(job)
    elif like is not None:
        speed = recorded(open_output(like)[0], f"the runs of {redact(like)}")
        if speed is None:
            raise InputError(f"--like {redact(like)}: no run of this output is recorded")
    guess = estimate(job, plan, room.workers[1], speed, price)
    speed, amount = guess.speed, guess.amount
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
        **guess.as_tree(),
        "ceiling": _ceiling(speed, device, spec.compute.dtype),
    }
    approx = "" if amount.exact else "about "
    rows = [
        ("source", f"{_files(job, len(plan.files))}, {approx}{counted(amount.samples, 'sample')}"),
        ("pictures", _pictures(job)),
        ("captions", f"'{job.layout.caption}'" if job.layout.caption else _captions(job)),
        ("labels", _labels(job)),
        ("carried", ", ".join([*job.layout.masks, *job.layout.carry]) or "nothing more"),
        ("method", f"{job.method_label} on {job.device}, batches of {job.batch_size}"),
        ("workers", f"{_range(room.workers)} {room.where}"),
        ("output", redact(job.store.uri())),
        (
            "shards",
            f"{approx}{amount.shards:,} of {counted(job.shard_size, 'sample')}; {plan.committed:,} committed already",
        ),
        ("bytes to read", f"{approx}{quantity.size(guess.bytes_in)}"),
        ("fingerprint", job.fingerprint),
    ]
    rows[-1:-1] = [*_cost(job, guess, price), *_operations(speed, device, spec.compute.dtype)]
    console.table(["", spec.name], rows)
    for warning in warnings:
        console.problem(f"note: {warning}")
    for uri in plan.changed:
        console.note(f"{redact(uri)} changed since its shards were made")
    for finding in plan.findings:
        console.note(finding.text())
    if room.problem:
        console.note(room.problem)
    return tree


def _cost(job: Job, guess: Estimate, price: float | None) -> list[tuple[str, str]]:
    """Speed, time, bytes and money of what is left, or that they are unknown and how to learn them."""
    speed = guess.speed
    if speed is None or guess.seconds is None or guess.device_hours is None:
        return [("time", "unknown before a first run of this output; `plan --calibrate 32` measures it here")]
    device = "GPU" if job.spec.compute.gpus > 0 else "worker"
    beside = [
        f"one {name} for {number:.1f} workers"
        for name, number in (("reader", speed.fed_by_one_reader), ("writer", speed.emptied_by_one_writer))
        if number is not None
    ]
    rows = [
        ("speed", f"{speed.images_per_second:.3g} images/s per worker, from {speed.origin}"),
        ("time", f"about {quantity.duration(guess.seconds)} with {counted(guess.workers, 'worker')}, once started"),
        ("cost", f"about {guess.device_hours:.3g} {device} hours"),
        ("bytes to write", f"about {quantity.size(guess.bytes_out)}"),
        ("beside", f"{', '.join(beside) or 'unknown'}; each worker has one of both"),
    ]
    if guess.price is not None:
        rows[2] = ("cost", f"{rows[2][1]}, {guess.price:,.2f} at {price:g} an hour")
    return rows


def _own_device(job: Job) -> Device | None:
    """The GPU that the calibration ran on, if its figures are known."""
    if job.device != "cuda":
        return None
    import torch

    return recognised(torch.cuda.get_device_name())


def _ceiling(speed: Throughput | None, device: Device | None, precision: Precision) -> float | None:
    """Images per second that a device can make at most; ``None`` where nothing was counted or no device is named."""
    if speed is None or speed.tflop_per_image is None or device is None:
        return None
    return device.peak(precision) / speed.tflop_per_image


def _operations(speed: Throughput | None, device: Device | None, precision: Precision) -> list[tuple[str, str]]:
    """What was counted for a picture, how fast that is here, and what a GPU could do."""
    if speed is None or speed.tflop_per_image is None:
        return []
    said = f"{quantity.flop(speed.tflop_per_image)} per image in convolutions, matrix products and attention"
    if speed.tflops is not None:
        said += f"; here {quantity.flop(speed.tflops)}/s while the method works"
    rows = [("operations", said)]
    most = _ceiling(speed, device, precision)
    if device is not None and most is not None:
        peak = f"{device.peak(precision):,g} TFLOP/s in {precision}, of its data sheet"
        rows.append(("at most", f"{quantity.measured(most)} images/s on one {device.name} ({peak})"))
    return rows


def _pictures(job: Job) -> str:
    """Where the pictures are in a source file, and the true targets."""
    where = {"folder": "the files themselves", "manifest": "the files that it names"}
    pictures = where.get(job.source_format) or f"'{job.layout.image}'"
    return pictures + (f", true target '{job.layout.target}'" if job.layout.target else "")


def _captions(job: Job) -> str:
    """Where captions come from that are none of the samples' own."""
    return "none" if job.spec.source.labels.uri is None else "those of the labels, where they hold any"


def _labels(job: Job) -> str:
    """Where labels come from, and how many there are; ``none`` where nothing holds any."""
    table = job_table(job)
    if table is None:
        member = job.layout.labels
        return "none" if member is None else f"'{member}' of each sample, where it holds labels"
    try:
        return f"{redact(job.spec.source.labels.uri or '')} ({table.info.format}), of {counted(len(table), 'picture')}"
    finally:
        table.close()


def _files(job: Job, number: int) -> str:
    """``3 parquet files``; loose pictures are a folder, however many groups a plan makes of them."""
    if job.source_format == "folder":
        return "loose pictures"
    return counted(number, f"{_format(job)} file")


def _format(job: Job) -> str:
    delimiter = job.layout.delimiter
    return f"{job.source_format} ({delimiter} between columns)" if delimiter else job.source_format


def _range(workers: tuple[int, int]) -> str:
    return str(workers[0]) if workers[0] == workers[1] else f"{workers[0]} to {workers[1]}"
