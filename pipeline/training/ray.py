"""Several workers training one model: Ray Train places them, makes their process group, and replaces the dead."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

from methods.errors import InputError
from methods.train.loop import Progress
from pipeline.errors import JobFailed
from pipeline.logs.run import DEFAULT_LOGS, LogOptions, RunLogs, new_run
from pipeline.run.cluster import Demand, open_cluster
from pipeline.run.lock import locked
from pipeline.storage import Store
from pipeline.training.run import claim
from pipeline.training.spec import TrainSpec

_CALLER_S_FAULT = "wrong input: "


def train_on_ray(
    spec: TrainSpec,
    *,
    fresh: bool,
    steal_lock: bool,
    watch: Callable[[Progress], None],
    say: Callable[[str], None] = lambda text: None,
    log_options: LogOptions = DEFAULT_LOGS,
) -> None:
    """Train with ``spec.compute.workers`` processes; a group that lost a worker goes on from the last checkpoint.

    Raises:
        InputError: the spec, the data or the output cannot work, or the cluster cannot be reached.
        JobFailed: the workers failed more often than ``compute.max_failures``.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    store = Store(spec.output.uri, spec.output.storage)
    with locked(store, spec.name, steal=steal_lock):
        claim(store, spec, fresh=fresh)
    logs = RunLogs(store, new_run(), spec.name, log_options)
    workers, compute = spec.compute.workers, spec.compute
    demand = Demand((workers, workers), compute.cpus, compute.gpus, compute.torch_threads, address=compute.address)
    cluster = open_cluster(demand)
    say(f"working {cluster.where}")
    reports = Queue(actor_options={"num_cpus": 0})
    resources = {"CPU": compute.cpus} | ({"GPU": 1} if compute.gpus else {})
    try:
        with tempfile.TemporaryDirectory(prefix="sceneshift-train-") as scratch:
            trainer = TorchTrainer(
                _work,
                train_loop_config={"spec": spec.as_tree(), "reports": reports, "logs": logs},
                torch_config=TorchConfig(backend="nccl" if compute.gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=workers, use_gpu=bool(compute.gpus), resources_per_worker=resources
                ),
                # checkpoints go to the output by themselves; Ray Train keeps nothing but its own notes
                run_config=RunConfig(
                    name=spec.name,
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=compute.max_failures),
                ),
            )
            with _passed_on(reports, watch):
                trainer.fit()
    except Exception as error:
        text = _root_message(error)
        if _CALLER_S_FAULT in text:
            raise InputError(text.partition(_CALLER_S_FAULT)[2].splitlines()[0]) from None
        raise JobFailed(f"training failed: {text.splitlines()[0][:400]} (why: {logs.uri})") from error
    finally:
        cluster.close()


@contextlib.contextmanager
def _passed_on(reports: Any, watch: Callable[[Progress], None]) -> Iterator[None]:
    """What the first worker puts into the queue is handed to ``watch``, to the last of it."""
    done = threading.Event()

    def pass_on() -> None:
        while True:
            ending = done.is_set()
            with contextlib.suppress(Empty):
                while True:
                    watch(reports.get(timeout=0.5))
            if ending:
                return

    thread = threading.Thread(target=pass_on, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=30)


def _root_message(error: BaseException) -> str:
    """The text of an error and of everything that caused it."""
    texts = [str(error)]
    for failure in getattr(error, "worker_failures", {}).values():
        texts.append(str(failure))
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(str(error))
    return "\n".join(texts).strip() or type(error).__name__


def _work(config: dict[str, Any]) -> None:
    """What every worker runs."""
    import ray.train
    from ray.train.torch import get_device

    from pipeline.training.run import train

    context = ray.train.get_context()

    def report(progress: Progress) -> None:
        if context.get_world_rank() == 0:
            config["reports"].put(progress)

    try:
        train(
            TrainSpec.model_validate(config["spec"]),
            rank=context.get_world_rank(),
            world=context.get_world_size(),
            device=get_device(),
            # the driver took the lock and gave it back; a group before this one may have died with it
            steal_lock=True,
            watch=report,
            logs=config["logs"],
        )
    except InputError as error:
        raise RuntimeError(f"{_CALLER_S_FAULT}{error}") from None
