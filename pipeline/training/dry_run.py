"""What a training would cost: everything is built, three steps and a validation are done, nothing is written."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import torch

from methods.train.first_look import first_look
from methods.train.loop import equip, step_generator
from methods.train.updates import Updates
from pipeline.storage import Store
from pipeline.training.claim import check_claim
from pipeline.training.run import prepared, resumes
from pipeline.training.spec import TrainSpec
from pipeline.translate.cpu import configure_cpu

_TIMED = 2


@dataclass(frozen=True)
class DryRun:
    """What a training would cost.

    Attributes:
        parameters: of each trained network.
        samples: of each stream, those that are chosen.
        memory: peak bytes, of the device or, on a CPU, of this process.
        seconds_per_step: mean of two batches after one that is not counted, times the batches of a step.
        hours: all steps at that pace, with one worker.
        losses: of the last step.
    """

    parameters: dict[str, int]
    samples: dict[str, int]
    memory: int
    seconds_per_step: float
    hours: float
    losses: dict[str, float]


def dry_run(spec: TrainSpec) -> DryRun:
    """Build networks and data as a training does, take three steps and measure them.

    Raises:
        InputError: what cannot work, in one line.
    """
    device = torch.device("cuda" if spec.compute.gpus and torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        configure_cpu(spec.compute.torch_threads)
    store = Store(spec.output.uri, spec.output.storage)
    check_claim(store, spec)
    with prepared(spec, 0, device, resuming=resumes(store)) as ready:
        networks = ready.objective.networks()
        equip(ready.objective, spec.recipe)
        updates = Updates(clip=spec.clip, scaled=spec.precision == "float16")
        losses: dict[str, float] = {}
        began = 0.0
        for step in range(_TIMED + 1):
            batch = ready.loader(step)
            losses = dict(ready.objective.step(batch, step, step_generator(spec.seed, step, 0), updates))
            updates.end()
            if step == 0:
                _wait(device)
                began = time.perf_counter()
        _wait(device)
        seconds = (time.perf_counter() - began) / _TIMED * spec.accumulate
        memory = _peak(device)
        # a training does it before its first step: what is wrong with it is found here
        if ready.evaluate is not None or spec.validation.selection is not None:
            first_look(ready.objective, ready.validation, ready.evaluate, spec.validation.selection)
        return DryRun(
            parameters={name: sum(p.numel() for p in each.parameters()) for name, each in networks.items()},
            samples={name: stream.usable for name, stream in ready.loader.streams.items()},
            memory=memory,
            seconds_per_step=seconds,
            hours=seconds * spec.total_steps / 3600,
            losses=losses,
        )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
