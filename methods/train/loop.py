"""The loop that drives an objective: data, time, checkpoints, averaging, logs, validation, resume. Plain torch."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from methods.train.average import Average
from methods.train.checkpoint import (
    Checkpoint,
    checkpoint_path,
    forget_old,
    load_checkpoint,
    restore,
    save_checkpoint,
    saved_steps,
)
from methods.train.divergence import DivergenceGuard
from methods.train.journal import Journal
from methods.train.objective import Objective, Sample, Streams
from methods.train.workers import agree_on, alone, any_of, average_gradients, same_start

Batches = Callable[[int], Streams]
"""The batch of iteration ``step`` (from 0), a function of that number alone: a resumed run gets what it would have."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for whoever watches. ``losses`` are means since the last report."""

    step: int
    steps: int
    losses: Mapping[str, float]
    seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class FitConfig:
    """How long, and what is kept.

    Attributes:
        folder: checkpoints, logs, pictures and the final weights go here.
        steps: iterations in all, over resumed runs.
        seed: of every random number a step draws, together with step and rank.
        ema: decay of the averaged weights; ``None`` keeps none.
        checkpoint_every, validate_every, log_every: iterations; the last one is always a checkpoint and a validation.
        keep: how many checkpoints stay on disk.
        validation: held-out samples by stream.
        metadata: goes into the exported weights.
        channels_last: the weights of convolutions lie in that order, which tells torch to compute in it.
        rank, world: this worker among how many; only rank 0 writes.
    """

    folder: Path
    steps: int
    seed: int = 0
    ema: float | None = None
    checkpoint_every: int = 500
    validate_every: int = 500
    log_every: int = 20
    keep: int = 2
    validation: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    channels_last: bool = False
    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Fitted:
    """What a call of :func:`fit` did: iterations done in all, where it began, and the weights if it reached the end."""

    step: int
    started_at: int
    weights: Path | None


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The CPU generator of one iteration on one worker."""
    digest = hashlib.blake2b(f"{seed}\0{step}\0{rank}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def fit(
    objective: Objective,
    batches: Batches,
    config: FitConfig,
    *,
    watch: Callable[[Progress], None] = lambda progress: None,
    published: Callable[[Path], None] = lambda path: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train to ``config.steps``, from the newest checkpoint in ``config.folder`` or from the start.

    An interrupted run that is called again ends with the same bits as one that was not interrupted.

    Args:
        objective: built, on its device.
        batches: see :data:`Batches`.
        config: see :class:`FitConfig`.
        watch: called with where the run is after every ``log_every`` iterations.
        published: called with every file that was written (rank 0), for copying it elsewhere.
        stop: asked after every iteration; true writes a checkpoint and returns early.

    Raises:
        Diverged: a loss is not finite, or has been far above what it was; the last good checkpoint is kept.
        InputError: a checkpoint that cannot be read or belongs to another objective.
    """
    lead = config.rank == 0
    sync = average_gradients if config.world > 1 else alone
    networks = objective.networks()
    _lay_out(networks, torch.channels_last if config.channels_last else torch.contiguous_format)
    start = max(saved_steps(config.folder), default=0)
    device = next(iter(next(iter(networks.values())).parameters())).device
    if config.world > 1:
        start = agree_on(start, device)
    average = Average(networks, config.ema) if config.ema is not None else None
    if start:
        path = checkpoint_path(config.folder, start)
        found = load_checkpoint(path, objective.info.name)
        restore(objective, found, str(path))
        if average is not None:
            average.load(found.averaged)
    elif config.world > 1:
        same_start(networks)
        if average is not None:
            average = Average(networks, average.decay)
    journal = Journal(config.folder, start, published) if lead else None
    guard = DivergenceGuard(config.folder)

    def save(step: int) -> None:
        if journal is None or guard.suspicious:
            return
        averaged = average.values if average is not None else {}
        path = save_checkpoint(config.folder, Checkpoint(step, objective.info.name, objective.state_dict(), averaged))
        journal.flush()
        published(path)
        forget_old(config.folder, config.keep)

    def validate(step: int) -> None:
        if journal is None or not config.validation:
            return
        with average.swapped_in() if average is not None else contextlib.nullcontext():
            journal.validation(step, objective.validate(config.validation))

    sums: dict[str, list[float]] = {}
    step, begun, since = start, time.monotonic(), start
    try:
        while step < config.steps:
            batch = batches(step)
            generator = step_generator(config.seed, step, config.rank)
            # for layers that draw by themselves (dropout): a resumed run must draw the same
            torch.manual_seed(generator.initial_seed())
            losses = objective.step(batch, step, generator, sync)
            step += 1
            guard.check(losses, step)
            if average is not None:
                average.update(step)
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
            if step % config.log_every == 0 or step == config.steps:
                seconds = time.monotonic() - begun
                means = {name: sum(values) / len(values) for name, values in sums.items()}
                watch(Progress(step, config.steps, means, seconds, (step - since) / max(seconds, 1e-9)))
                if journal is not None:
                    journal.losses(step, means, seconds)
                sums = {}
            stopping = step < config.steps and (any_of(stop(), device) if config.world > 1 else stop())
            if step % config.validate_every == 0 or step == config.steps:
                validate(step)
            if step % config.checkpoint_every == 0 or step == config.steps or stopping:
                save(step)
            if stopping:
                return Fitted(step, start, None)
        weights = None
        if lead:
            metadata = {"objective": objective.info.name, "steps": str(step), **config.metadata}
            # files hold rows of pixels whatever torch computed in
            _lay_out(networks, torch.contiguous_format)
            averaged = average.contiguous() if average is not None else None
            weights = objective.export(config.folder / "model.safetensors", averaged, metadata)
            published(weights)
        return Fitted(step, start, weights)
    finally:
        if journal is not None:
            journal.close()


def _lay_out(networks: Mapping[str, nn.Module], order: torch.memory_format) -> None:
    for network in networks.values():
        network.to(memory_format=order)  # type: ignore[call-overload]
