"""One worker of a training run: streams from the same sources as `run`, the loop, and where its files go."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from methods.errors import InputError
from methods.train import registry
from methods.train.checkpoint import FOLDER as CHECKPOINTS
from methods.train.checkpoint import checkpoint_path, load_checkpoint, saved_steps
from methods.train.journal import LOG, VALIDATION
from methods.train.loop import Diverged, FitConfig, Fitted, Progress, fit
from pipeline.errors import JobFailed
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DRIVER, RunLogs, new_run
from pipeline.run.lock import locked
from pipeline.storage import Store, redact
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Loader, Stream, held_out
from pipeline.translate.cpu import configure_cpu

_log = logging.getLogger(f"sceneshift.{__name__}")

TRAIN_FILE = "_sceneshift/train.json"
_VERSION = 1


def train(
    spec: TrainSpec,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | None = None,
    fresh: bool = False,
    steal_lock: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    logs: RunLogs | None = None,
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

    Raises:
        InputError: anything of the spec, the data or the output that cannot work, in one line.
        JobFailed: a bug of the objective, or a loss that diverged; the traceback is in the run's log.
    """
    device = device or torch.device("cuda" if spec.compute.gpus else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("compute.gpus is 1 but this machine has no CUDA device: set it to 0")
    if device.type == "cpu":
        configure_cpu(spec.compute.torch_threads)
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    with contextlib.ExitStack() as open_things:
        if rank == 0:
            open_things.enter_context(locked(store, spec.name, steal=steal_lock))
            claim(store, spec, fresh=fresh)
        logs = logs or RunLogs(store, new_run(), spec.name)
        record = open_things.enter_context(logs.recording(DRIVER if world == 1 else f"worker-{rank}"))
        open_things.enter_context(failure_logged(logs.uri))
        folder = open_things.enter_context(_folder(store))
        if spec.continue_from is not None and not saved_steps(folder):
            _begin_with(spec, Store(spec.continue_from, spec.output.storage), folder)
        # networks that every worker makes must start the same on all of them
        torch.manual_seed(spec.seed)
        objective = registry.build(
            spec.objective.name, spec.objective.params, device, getattr(torch, spec.precision), spec.total_steps
        )
        streams = {name: Stream(source, _mixed(spec.seed, rank)) for name, source in spec.data.items()}
        loader = Loader(objective, streams, spec.worker_batch, _mixed(spec.seed, rank), device, spec.compute.threads)
        open_things.callback(loader.close)
        validation = {
            name: held_out(objective, name, source, spec.validation.count)
            for name, source in (spec.validation.data.items() if rank == 0 else ())
        }
        config = FitConfig(
            folder=folder,
            steps=spec.total_steps,
            seed=spec.seed,
            ema=spec.ema,
            checkpoint_every=spec.checkpoint_every,
            validate_every=spec.validate_every,
            log_every=spec.log_every,
            keep=spec.keep_checkpoints,
            validation=validation,
            metadata=_metadata(spec),
            channels_last=spec.memory_format == "channels_last",
            rank=rank,
            world=world,
        )
        remote = not store.local

        def note(progress: Progress) -> None:
            losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
            _log.info(
                "step %d of %d, %.3g steps/s: %s", progress.step, progress.steps, progress.steps_per_second, losses
            )
            watch(progress)

        def publish(path: Path) -> None:
            record.put()
            if remote:
                store.fs.put_file(str(path), store.path(path.relative_to(folder).as_posix()))
                if path.parent.name == CHECKPOINTS:
                    for old in store.list(CHECKPOINTS)[: -spec.keep_checkpoints]:
                        store.delete(old.path)

        try:
            return fit(objective, loader, config, watch=note, published=publish, stop=stop)
        except Diverged as error:
            raise JobFailed(str(error)) from error


def _predecessor(spec: TrainSpec, place: Path) -> Path:
    """The newest checkpoint in ``place``, the folder of the training that this one goes on from.

    Raises:
        InputError: there is none, or it is of as many steps as this run is to have.
    """
    steps = saved_steps(place)
    if not steps:
        raise InputError(f"continue_from: {redact(spec.continue_from or '')}: no checkpoint here")
    if steps[-1] >= spec.total_steps:
        raise InputError(
            f"continue_from: {redact(spec.continue_from or '')} is at step {steps[-1]}, this run ends at "
            f"{spec.total_steps}: steps counts on from there, make it larger"
        )
    return checkpoint_path(place, steps[-1])


def _begin_with(spec: TrainSpec, other: Store, folder: Path) -> None:
    """Copy the checkpoint that this training goes on from into its own folder."""
    with _folder(other) as place:
        found = _predecessor(spec, place)
        target = folder / found.relative_to(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        # workers on one disk may all do this: each writes beside, and what they move in is the same
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(found, beside)
        os.replace(beside, target)


def export_checkpoint(spec: TrainSpec, path: Path) -> tuple[int, Path]:
    """Write the weights of the newest checkpoint of the spec's output to ``path``; its ending chooses the format.

    Returns the checkpoint's step and what was written.

    Raises:
        InputError: no checkpoint there, or a format that the objective does not write.
    """
    store = Store(spec.output.uri, spec.output.storage)
    with _folder(store) as folder:
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
    return {"spec": json.dumps(spec.shaping(), sort_keys=True), "fingerprint": spec.fingerprint}


def _mixed(seed: int, rank: int) -> int:
    # a worker walks the whole set in an order of its own
    return seed * 1_000_003 + rank


def stored_training(store: Store) -> dict[str, Any] | None:
    """The output's ``train.json``, or ``None`` for a fresh output."""
    data = store.read_or_none(TRAIN_FILE)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError:
        raise InputError(f"{store.uri(TRAIN_FILE)}: not readable; the output is damaged or not one of ours") from None


def claim(store: Store, spec: TrainSpec, *, fresh: bool = False) -> None:
    """Write down whose output this is, or check that it is this spec's.

    Raises:
        InputError: the output belongs to another spec (what differs is named), or ``continue_from`` cannot be.
    """
    before = stored_training(store)
    if (fresh or before is None) and spec.continue_from is not None:
        with _folder(Store(spec.continue_from, spec.output.storage)) as place:
            _predecessor(spec, place)
    if fresh and before is not None:
        for entry in store.list():
            if not entry.path.endswith("lock.json"):
                store.delete(entry.path)
        before = None
    now = {"version": _VERSION, "fingerprint": spec.fingerprint, "shaping": spec.shaping(), "spec": spec.as_tree()}
    if before is not None and before.get("fingerprint") != spec.fingerprint:
        differs = ", ".join(_differences(before.get("shaping", {}), now["shaping"])[:4])
        raise InputError(
            f"{store.uri()}: holds a training of another spec ({differs}); give another output, or pass --fresh"
        )
    store.put(TRAIN_FILE, json.dumps(now, indent=1).encode())


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [each for key in keys for each in _differences(old.get(key), new.get(key), f"{path}{key}.")]
    return [] if old == new else [f"{path.rstrip('.')} was {old!r}, is {new!r}"]


@contextlib.contextmanager
def _folder(store: Store) -> Iterator[Path]:
    """Where the loop writes: the output itself on a disk, else a scratch folder with what is needed to go on."""
    if store.local:
        yield Path(store.path())
        return
    scratch = Path(tempfile.mkdtemp(prefix="sceneshift-train-"))
    try:
        found = [entry.path for entry in store.list(CHECKPOINTS)]
        for name in [*found[-1:], LOG, VALIDATION]:
            if name in found or store.exists(name):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                store.fs.get_file(store.path(name), str(scratch / name))
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
