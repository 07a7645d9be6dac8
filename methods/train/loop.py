"""The loop that drives an objective: data, time, rates, checkpoints, averaging, logs, validation, resume."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from methods.errors import InputError
from methods.train.average import Average
from methods.train.blocks import blocks_of, checkpoint_blocks
from methods.train.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    outdated,
    restore,
    save_checkpoint,
    saved_steps,
)
from methods.train.divergence import DivergenceGuard
from methods.train.first_look import check_selection, joined
from methods.train.journal import Journal, validations
from methods.train.loggers import LoggerName, open_logger
from methods.train.objective import Objective, Sample, Streams, Validation
from methods.train.recipe import Recipe
from methods.train.selection import Selection, given_up, standing
from methods.train.updates import Rates, Updates, prescribe
from methods.train.workers import agree_on, alone, any_of, average_gradients, same_start

BEST = "best.safetensors"
"""The weights of the best validation, beside the last ones; the ending is that of what the objective writes."""
_CANDIDATE = ".candidate.safetensors"

Batches = Callable[[int], Streams]
"""Batch number n (from 0), a function of that number alone: a resumed run gets what it would have."""


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run is, for whoever watches.

    Attributes:
        step, steps: iterations done, and in all.
        losses: means since the last report, with ``grad_norm.*``.
        seconds: of this attempt.
        steps_per_second, images_per_second: over this attempt, of all workers.
        rate: learning rate of the first optimizer.
        memory: peak bytes on the device; ``None`` on a CPU.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    seconds: float
    steps_per_second: float
    images_per_second: float = 0.0
    rate: float = 0.0
    memory: int | None = None


@dataclass(frozen=True)
class FitConfig:
    """How long, and what is kept.

    Attributes:
        folder: checkpoints, logs, pictures and the final weights go here.
        steps: iterations in all, over resumed runs.
        recipe: see :class:`Recipe`.
        images: samples of an iteration, of all workers and batches.
        checkpoint_every, validate_every, log_every: iterations; the last one is always a checkpoint and a validation.
        keep: how many checkpoints stay on disk, beside the best one.
        validation: held-out samples by stream.
        evaluate: measures exported weights as users run them; its values and pictures join those of ``validation``.
        selection: which validation is the best; ``None`` to keep none.
        first: what :func:`methods.train.first_look.first_look` found, for a run that begins at step 0.
        loggers: where curves go besides the folder's own files.
        name, identity: of the training, for loggers.
        metadata: goes into the exported weights.
        rank, world: this worker among how many; only rank 0 writes.
    """

    folder: Path
    steps: int
    recipe: Recipe = field(default_factory=Recipe)
    images: int = 1
    checkpoint_every: int = 500
    validate_every: int = 500
    log_every: int = 20
    keep: int = 2
    validation: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    evaluate: Callable[[Path], Validation] | None = None
    selection: Selection | None = None
    first: Validation | None = None
    loggers: Sequence[LoggerName] = ("tensorboard",)
    name: str = "training"
    identity: str = "training"
    metadata: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Fitted:
    """What a call of :func:`fit` did.

    Attributes:
        step: iterations done in all, as far as the newest checkpoint or the weights hold them.
        started_at: where this call began.
        weights: what was written at the end; ``None`` if it was not reached.
        ended: ``steps`` when all are done, ``patience`` when validations no longer got better, ``stopped`` when asked.
    """

    step: int
    started_at: int
    weights: Path | None
    ended: Literal["steps", "patience", "stopped"] = "steps"


def step_generator(seed: int, step: int, rank: int, batch: int = 0) -> torch.Generator:
    """The CPU generator of one batch of one iteration on one worker."""
    parts = (seed, step, rank, batch) if batch else (seed, step, rank)
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def fit(
    objective: Objective,
    batches: Batches,
    config: FitConfig,
    *,
    watch: Callable[[TrainingProgress], None] = lambda progress: None,
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
    return _Fit(objective, config, published).run(batches, watch, stop)


def check_recipe(objective: Objective, recipe: Recipe) -> None:
    """Raises InputError for a setting that would do nothing to a built objective."""
    name = objective.info.name
    for setting, why in objective.info.refuses.items():
        if getattr(recipe, setting) != Recipe.model_fields[setting].default:
            raise InputError(f"{setting}: objective '{name}' does not take it ({why}): leave it out")
    groups = [group for optimizer in objective.optimizers().values() for group in optimizer.param_groups]
    if recipe.betas is not None and not any("betas" in group for group in groups):
        raise InputError(f"betas: objective '{name}' has no Adam optimizer: leave them out")
    if recipe.checkpointing and not any(blocks_of(network) for network in objective.networks().values()):
        why = f"the networks of objective '{name}' have no blocks for it, or do it by themselves"
        raise InputError(f"checkpointing: {why}: leave it out")


def equip(objective: Objective, recipe: Recipe) -> None:
    """Give networks and optimizers of a built objective what the recipe says of them."""
    networks = objective.networks()
    _lay_out(networks, torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format)
    for network in networks.values():
        if recipe.checkpointing:
            checkpoint_blocks(network)
        if recipe.compile:
            # Of some networks parts alone are called, such as an autoencoder's encoder. What is not called is not
            # compiled, and a part is compiled with the whole where that is called.
            for module in (network, *network.children()):
                module.compile()
    prescribe(objective.optimizers(), recipe)


class _Fit:
    """One call of :func:`fit`: what it works with, between its iterations."""

    def __init__(self, objective: Objective, config: FitConfig, published: Callable[[Path], None]) -> None:
        self.objective, self.config, self.published = objective, config, published
        self.recipe = recipe = config.recipe
        self.networks = networks = objective.networks()
        self.order = torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format
        equip(objective, recipe)
        share = average_gradients if config.world > 1 else alone
        scaled = recipe.precision == "float16"
        self.updates = Updates(share, recipe.clip, recipe.accumulate, scaled=scaled)
        self.device = next(iter(next(iter(networks.values())).parameters())).device
        self.start = max(saved_steps(config.folder), default=0)
        if config.world > 1:
            self.start = agree_on(self.start, self.device)
        self.average = Average(networks, recipe.ema) if recipe.ema is not None else None
        if self.start:
            self._restore()
        elif config.world > 1:
            same_start(networks)
            if self.average is not None:
                self.average = Average(networks, self.average.decay)
        self.rates = Rates(objective.optimizers(), self._share)
        self.journal = self._journal(published) if config.rank == 0 else None
        self.guard = DivergenceGuard(config.folder)

    def _journal(self, published: Callable[[Path], None]) -> Journal:
        config = self.config
        loggers = [
            open_logger(name, config.folder, config.name, config.identity, self.start) for name in config.loggers
        ]
        return Journal(config.folder, self.start, published, loggers)

    def _restore(self) -> None:
        path = checkpoint_path(self.config.folder, self.start)
        found = load_checkpoint(path, self.objective.info.name)
        restore(self.objective, found, str(path))
        self.updates.load_state_dict(found.updates)
        if self.average is not None:
            self.average.load(found.averaged)

    def _share(self, step: int) -> float:
        recipe, steps = self.recipe, self.config.steps
        if recipe.schedule == "published":
            return self.objective.info.schedule(self.objective.params, step, steps)
        return recipe.rate(step, steps)

    def run(self, batches: Batches, watch: Callable[[TrainingProgress], None], stop: Callable[[], bool]) -> Fitted:
        config = self.config
        sums: dict[str, list[float]] = {}
        step, begun = self.start, time.monotonic()
        try:
            # a run that was killed between its last validation and its end has nothing left to do
            if not step and config.first is not None and self.journal is not None:
                # curves begin where training does
                self.journal.validation(0, config.first)
            ended = "patience" if self._any(self._given_up())[0] else "steps"
            while step < config.steps and ended == "steps":
                rate = self.rates.set(step)
                losses = self._iteration(batches, step)
                step += 1
                self.guard.check(losses, step)
                if self.average is not None:
                    self.average.update(step)
                for name, value in losses.items():
                    sums.setdefault(name, []).append(value)
                last = step == config.steps
                if step % config.log_every == 0 or last:
                    means = {name: sum(values) / len(values) for name, values in sums.items()}
                    self._report(step, means, rate, time.monotonic() - begun, watch)
                    sums = {}
                asked, suspicious = self._any(stop(), self.guard.suspicious)
                stopping = asked and not last
                best = False
                if step % config.validate_every == 0 or last:
                    best = self._validate(step)
                    ended = "patience" if self._any(self._given_up())[0] else "steps"
                if step % config.checkpoint_every == 0 or last or stopping or best or ended == "patience":
                    self._save(step, suspicious=suspicious)
                if stopping and ended == "steps":
                    return Fitted(self._kept(step, suspicious=suspicious), self.start, None, "stopped")
            return Fitted(step, self.start, self._export(step), ended)
        finally:
            if self.journal is not None:
                self.journal.close()

    def _any(self, *asked: bool) -> Sequence[bool]:
        """Of each question whether any worker says so, on every worker."""
        return any_of(self.device, *asked) if self.config.world > 1 else asked

    def _iteration(self, batches: Batches, step: int) -> dict[str, float]:
        """The gradients of all batches, one step; mean losses and norms of gradients by name."""
        recipe, found = self.recipe, dict[str, float]()
        for number in range(recipe.accumulate):
            batch = batches(step * recipe.accumulate + number)
            generator = step_generator(recipe.seed, step, self.config.rank, number)
            # for layers that draw by themselves (dropout): a resumed run must draw the same
            torch.manual_seed(generator.initial_seed())
            self.updates.begin(number)
            for name, value in self.objective.step(batch, step, generator, self.updates).items():
                found[name] = found.get(name, 0.0) + value / recipe.accumulate
        self.updates.end()
        return found | {f"grad_norm.{name}": value for name, value in self.updates.norms.items()}

    def _report(
        self,
        step: int,
        means: Mapping[str, float],
        rate: float,
        seconds: float,
        watch: Callable[[TrainingProgress], None],
    ) -> None:
        pace = (step - self.start) / max(seconds, 1e-9)
        memory = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        watch(TrainingProgress(step, self.config.steps, means, seconds, pace, pace * self.config.images, rate, memory))
        if self.journal is not None:
            self.journal.losses(step, {**means, "rate": rate}, seconds)

    def _save(self, step: int, *, suspicious: bool) -> None:
        """Write a checkpoint, but for weights that may be on their way to run away."""
        if self.journal is None or suspicious:
            return
        averaged = self.average.values if self.average is not None else {}
        checkpoint = Checkpoint(
            step, self.objective.info.name, self.objective.state_dict(), averaged, self.updates.state_dict()
        )
        path = save_checkpoint(self.config.folder, checkpoint)
        self.journal.flush()
        for old in outdated(saved_steps(self.config.folder), self.config.keep, self._best()):
            checkpoint_path(self.config.folder, old).unlink()
        self.published(path)

    def _kept(self, step: int, *, suspicious: bool) -> int:
        """The iteration with which a later call goes on after a stop."""
        return max(saved_steps(self.config.folder), default=0) if suspicious else step

    def _validate(self, step: int) -> bool:
        """Validate and write it down; whether it is the best so far."""
        config = self.config
        if self.journal is None or not (config.validation or config.evaluate):
            return False
        found = Validation()
        if config.validation:
            with self.average.swapped_in() if self.average is not None else contextlib.nullcontext():
                found = self.objective.validate(config.validation)
        candidate: Path | None = None
        try:
            if config.evaluate is not None:
                candidate = self._written(config.folder / _CANDIDATE, step)
                found = joined(found, config.evaluate(candidate))
            check_selection(found, config.selection)
            self.journal.validation(step, found)
            best = self._best() == step
            if best:
                candidate = candidate or self._written(config.folder / _CANDIDATE, step)
                place = (config.folder / BEST).with_suffix(candidate.suffix)
                shutil.move(candidate, place)
                self.published(place)
        finally:
            # also of a validation that failed
            if candidate is not None:
                candidate.unlink(missing_ok=True)
        return best

    def _best(self) -> int | None:
        if self.config.selection is None or self.journal is None:
            return None
        found = standing(validations(self.config.folder), self.config.selection)
        return None if found is None else found.step

    def _given_up(self) -> bool:
        return self.journal is not None and given_up(validations(self.config.folder), self.config.selection)

    def _export(self, step: int) -> Path | None:
        if self.config.rank:
            return None
        weights = self._written(self.config.folder / "model.safetensors", step)
        self.published(weights)
        return weights

    def _written(self, path: Path, step: int) -> Path:
        """The weights, averaged where there is an average; files hold rows of pixels whatever torch computed in."""
        metadata = {"objective": self.objective.info.name, "steps": str(step), **self.config.metadata}
        _lay_out(self.networks, torch.contiguous_format)
        averaged = self.average.contiguous() if self.average is not None else None
        try:
            return self.objective.export(path, averaged, metadata)
        finally:
            _lay_out(self.networks, self.order)


def _lay_out(networks: Mapping[str, nn.Module], order: torch.memory_format) -> None:
    for network in networks.values():
        network.to(memory_format=order)  # type: ignore[call-overload]
