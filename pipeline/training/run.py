"""One worker of a training run: streams from the same sources as `run`, the loop, and where its files go."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from methods.errors import InputError
from methods.nn.slow_precision import slow_precision
from methods.train import registry
from methods.train.checkpoint import FOLDER as CHECKPOINTS
from methods.train.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    restore,
    save_checkpoint,
    saved_steps,
)
from methods.train.divergence import Diverged
from methods.train.first_look import first_look
from methods.train.journal import VALIDATION
from methods.train.loggers import check_login
from methods.train.loop import FitConfig, Fitted, TrainingProgress, check_recipe, fit
from methods.train.objective import Objective, Sample, Validation
from methods.train.selection import given_up
from pipeline.errors import JobFailed
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DRIVER, RunLogs, new_run
from pipeline.run.lock import locked
from pipeline.storage import Store, redact
from pipeline.training.array_file import ArrayFile
from pipeline.training.claim import (
    check_claim,
    claim,
    differences,
    selection_of,
    stored_training,
    validated_as,
)
from pipeline.training.decoded import DecodedCache
from pipeline.training.evaluation import Evaluation
from pipeline.training.folder import publish, rows_of, training_folder
from pipeline.training.record import TrainingRecord, hardware
from pipeline.training.report.page import write_training_report
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Loader, Stream, validation_samples
from pipeline.translate.cpu import configure_cpu
from pipeline.uris import absolute, beside, tree_seen_from

_log = logging.getLogger(f"sceneshift.{__name__}")

_MB = 1_000_000


def train(
    spec: TrainSpec,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | None = None,
    fresh: bool = False,
    steal_lock: bool = False,
    watch: Callable[[TrainingProgress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    logs: RunLogs | None = None,
    first: Validation | None = None,
) -> Fitted:
    """Train, or do what is left of it. Called once by every worker; with several, torch.distributed is set up before.

    Args:
        spec: what to do.
        rank, world: which of how many workers this is.
        device: where; by the spec's ``compute.gpus`` where none is given.
        fresh: throw away what the output holds.
        steal_lock: take over the lock of a driver that is gone.
        watch, stop: see :func:`methods.train.loop.fit`.
        logs: where this run logs to; a place of its own where none is given.
        first: what :func:`look` found; looked for here where nobody has.

    Raises:
        InputError: anything of the spec, the data or the output that cannot work, in one line.
        JobFailed: a bug of the objective, or a loss that diverged; the traceback is in the run's log.
    """
    device = device or device_of(spec)
    if device.type == "cpu":
        configure_cpu(spec.compute.torch_threads)
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    check_claim(store, spec, fresh=fresh)
    with contextlib.ExitStack() as open_things:
        # Everything that can be refused is refused here, before the output is touched.
        resuming = not fresh and resumes(store)
        ready = open_things.enter_context(prepared(spec, rank, device, resuming=resuming))
        if rank == 0 and first is None and unseen(store, spec, fresh=fresh):
            first = first_look(ready.objective, ready.validation, ready.evaluate, spec.validation.selection)
        # only the first worker has loggers to tell it to
        identity = ""
        if rank == 0:
            open_things.enter_context(locked(store, spec.name, steal=steal_lock))
        folder = open_things.enter_context(training_folder(store, fresh=fresh))
        if rank == 0:
            if not fresh:
                check_newest(folder, ready.objective)
            identity = claim(store, spec, fresh=fresh)
        selection = selection_of(store, spec)
        logs = logs or RunLogs(store, new_run(), spec.name)
        record = open_things.enter_context(logs.recording(DRIVER if world == 1 else f"worker-{rank}"))
        open_things.enter_context(failure_logged(logs.uri))
        config = FitConfig(
            folder=folder,
            steps=spec.total_steps,
            recipe=spec.recipe,
            images=spec.worker_batch * spec.accumulate * world,
            checkpoint_every=spec.checkpoint_every,
            validate_every=500 if spec.validate_every == "auto" else spec.validate_every,
            log_every=spec.log_every,
            keep=spec.keep_checkpoints,
            validation=ready.validation,
            evaluate=ready.evaluate,
            selection=selection,
            first=first,
            loggers=spec.loggers,
            name=spec.name,
            identity=identity,
            metadata=_metadata(spec),
            rank=rank,
            world=world,
        )
        before = TrainingRecord.read(store) or TrainingRecord(0, "running")
        about = TrainingRecord(
            step=0,
            ended="running",
            began=before.began if ready.predecessor is None else ready.predecessor.step,
            parameters={
                name: sum(value.numel() for value in network.parameters())
                for name, network in ready.objective.networks().items()
            },
            samples={
                name: {"size": stream.usable, "held_out": stream.held_out_count}
                for name, stream in ready.loader.streams.items()
            },
            device=hardware(device),
            workers=world,
            host=socket.gethostname(),
        )
        if ready.predecessor is not None and not saved_steps(folder):
            # first: who comes after this attempt finds a checkpoint, and no predecessor
            if rank == 0:
                about.put(store)
            save_checkpoint(folder, ready.predecessor)

        def note(progress: TrainingProgress) -> None:
            losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
            _log.info(
                "step %d of %d, %.3g steps/s: %s", progress.step, progress.steps, progress.steps_per_second, losses
            )
            watch(progress)

        def report(step: int, ended: str, weights: Path | None = None) -> None:
            memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
            name = None if weights is None else weights.name
            now = replace(about, step=step, ended=ended, weights=name, memory=memory)
            write_training_report(spec, store, now)
            # last: what says that a training is finished
            now.put(store)

        def published(path: Path) -> None:
            record.put()
            publish(path, folder, store, spec.keep_checkpoints, selection)
            if path.parent.name == CHECKPOINTS:
                report(max(saved_steps(folder)), "running")

        try:
            fitted = fit(ready.objective, ready.loader, config, watch=note, published=published, stop=stop)
        except Diverged as error:
            raise JobFailed(str(error)) from error
        if rank == 0:
            report(fitted.step, fitted.ended, fitted.weights)
        return fitted


def device_of(spec: TrainSpec) -> torch.device:
    """Where ``compute.gpus`` wants the work done. Raises InputError where that is a GPU and there is none."""
    if spec.compute.gpus and not torch.cuda.is_available():
        raise InputError("compute.gpus is 1 but this machine has no CUDA device: set it to 0")
    return torch.device("cuda" if spec.compute.gpus else "cpu")


def look(spec: TrainSpec, device: torch.device, *, fresh: bool = False) -> Validation | None:
    """Everything that can be known before a training begins: data, networks, weights, and one validation.

    Writes nothing. Returns what the validation says; ``None`` where there is none, or that has been looked at before.

    Raises:
        InputError: what cannot work, in one line.
    """
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    check_claim(store, spec, fresh=fresh)
    if device.type == "cpu":
        configure_cpu(spec.compute.torch_threads)
    resuming = not fresh and resumes(store)
    with prepared(spec, 0, device, resuming=resuming) as ready:
        if resuming:
            with training_folder(store) as folder:
                check_newest(folder, ready.objective)
        if not unseen(store, spec, fresh=fresh):
            return None
        return first_look(ready.objective, ready.validation, ready.evaluate, spec.validation.selection)


def unseen(store: Store, spec: TrainSpec, *, fresh: bool) -> bool:
    """Whether nobody knows yet that the validation works and has the value that ``best`` names.

    A training that goes on with another validation is looked at again, for the names: what is found is no curve's.
    """
    if not (spec.validation.metrics or spec.validation.best):
        return False
    return fresh or not resumes(store) or not validated_as(stored_training(store), spec)


def finished(store: Store, spec: TrainSpec) -> Fitted | None:
    """How a training ended that has nothing left to do; ``None`` while there is work.

    Raises InputError when the output belongs to another spec.
    """
    check_claim(store, spec)
    done = TrainingRecord.read(store)
    if stored_training(store) is None or done is None or done.weights is None or not store.exists(done.weights):
        return None
    at_end = done.finished and done.step >= spec.total_steps
    # by this spec's patience, which may be another than that under which the training ended
    if not (at_end or (done.finished and given_up(rows_of(store, VALIDATION), selection_of(store, spec)))):
        return None
    return Fitted(done.step, done.step, Path(store.path(done.weights)), "steps" if at_end else "patience")


def resumes(store: Store) -> bool:
    """Whether the output holds a checkpoint to go on from."""
    return any(entry.path.endswith(".pt") for entry in store.list(CHECKPOINTS))


@dataclass(frozen=True)
class Ready:
    """What a training works with, built and checked."""

    objective: Objective
    loader: Loader
    validation: dict[str, list[Sample]]
    evaluate: Evaluation | None
    predecessor: Checkpoint | None


@contextlib.contextmanager
def prepared(spec: TrainSpec, rank: int, device: torch.device, *, resuming: bool) -> Iterator[Ready]:
    """Networks, data and the checkpoint to begin with. Writes nothing. Raises InputError.

    Args:
        resuming: the output has checkpoints of its own, so that ``continue_from`` has been done with.
    """
    if rank == 0:
        for name in spec.loggers:
            check_login(name)
    wanted = spec.validation.samples
    held_out = wanted if spec.validation.from_training_data else 0
    streams = {
        name: Stream(source, _mixed(spec.seed, rank), held_out, spec.balance.get(name), spec.where.get(name))
        for name, source in spec.data.items()
    }
    for name, stream in streams.items():
        if stream.trained_on < spec.worker_batch:
            _log.warning(
                "data.%s: %s has %d samples to train on, fewer than batch_size %d: every batch repeats them",
                *(name, stream.where, stream.trained_on, spec.worker_batch),
            )
    # networks that every worker makes must start the same on all of them
    torch.manual_seed(spec.seed)
    precision = getattr(torch, spec.precision)
    if rank == 0 and (slow := slow_precision(device, precision)):
        _log.warning("precision: %s", slow)
    objective = registry.build(spec.objective.name, spec.objective.params, device, precision, spec.total_steps)
    check_recipe(objective, spec.recipe)
    predecessor = None
    if spec.continue_from is not None and not resuming:
        predecessor = load_predecessor(spec)
        restore(objective, predecessor, f"continue_from: {redact(spec.continue_from)}", _other_params(spec))
    on_disk = spec.compute.cache_disk_mb
    disk = ArrayFile(on_disk * _MB, spec.compute.cache_folder) if on_disk else None
    loader = Loader(
        objective,
        streams,
        spec.worker_batch,
        _mixed(spec.seed, rank),
        device,
        spec.compute.threads,
        spec.augment,
        DecodedCache(spec.compute.cache_mb * _MB, disk),
    )
    try:
        if rank == 0 and not resuming:
            loader.check()
        validation: dict[str, list[Sample]] = {}
        evaluate = None
        if rank == 0 and wanted:
            own = {name: Stream(source, 0) for name, source in spec.validation.data.items()}
            validation = {
                name: validation_samples(objective, name, stream, wanted) for name, stream in (own or streams).items()
            }
            if spec.validation.metrics:
                evaluate = Evaluation(spec, own or streams)
        yield Ready(objective, loader, validation, evaluate, predecessor)
    finally:
        loader.close()


def check_newest(folder: Path, objective: Objective) -> None:
    """Load the newest checkpoint of a folder, if it has one, as the loop will once the output is this run's.

    Raises:
        InputError: it is damaged, or does not fit the objective's networks.
    """
    if steps := saved_steps(folder):
        path = checkpoint_path(folder, steps[-1])
        restore(objective, load_checkpoint(path, objective.info.name), str(path))


def load_predecessor(spec: TrainSpec) -> Checkpoint:
    """The newest checkpoint of the training that this one goes on from.

    Raises:
        InputError: there is none, it belongs to another objective, or it has as many steps as this run is to have.
    """
    where = redact(spec.continue_from or "")
    with training_folder(Store(spec.continue_from or "", spec.output.storage)) as place:
        steps = saved_steps(place)
        if not steps:
            raise InputError(f"continue_from: {where}: no checkpoint here")
        if steps[-1] >= spec.total_steps:
            raise InputError(
                f"continue_from: {where} is at step {steps[-1]}, this run ends at {spec.total_steps}: steps counts on "
                "from there, make it larger"
            )
        return load_checkpoint(checkpoint_path(place, steps[-1]), spec.objective.name)


def _other_params(spec: TrainSpec) -> list[str]:
    """Parameters of the objective in which this spec differs from the training that it goes on from."""
    try:
        before = stored_training(Store(spec.continue_from or "", spec.output.storage))
    except InputError:
        return []
    old = (before or {}).get("shaping", {}).get("objective", {}).get("params")
    return differences(old, spec.shaping()["objective"]["params"]) if old is not None else []


def export_checkpoint(spec: TrainSpec, path: Path) -> tuple[int, Path]:
    """Write the weights of the newest checkpoint of the spec's output to ``path``; its ending chooses the format.

    Returns the checkpoint's step and what was written.

    Raises:
        InputError: no checkpoint there, or a format that the objective does not write.
    """
    store = Store(spec.output.uri, spec.output.storage)
    with training_folder(store) as folder:
        steps = saved_steps(folder)
        if not steps:
            raise InputError(f"{store.uri()}: no checkpoint here to export")
        found = load_checkpoint(checkpoint_path(folder, steps[-1]), spec.objective.name)
    torch.manual_seed(spec.seed)
    objective = registry.build(
        spec.objective.name, spec.objective.params, torch.device("cpu"), torch.float32, spec.total_steps
    )
    objective.load_state_dict(found.state)
    metadata = {"objective": spec.objective.name, "steps": str(found.step), **_metadata(spec)}
    path.parent.mkdir(parents=True, exist_ok=True)
    return found.step, objective.export(path, found.averaged or None, metadata)


def _metadata(spec: TrainSpec) -> dict[str, str]:
    # weights travel: where the data lay on this machine stays here
    seen = tree_seen_from(beside(absolute(spec.output.uri)), spec.shaping())
    return {"spec": redact(json.dumps(seen, sort_keys=True)), "fingerprint": spec.fingerprint}


def _mixed(seed: int, rank: int) -> int:
    # a worker walks the whole set in an order of its own
    return seed * 1_000_003 + rank
