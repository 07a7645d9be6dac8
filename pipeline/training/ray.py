"""Several workers training one model: Ray Train places them, makes their process group, and replaces the dead."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from methods.errors import InputError
from methods.train.loop import Fitted, TrainingProgress
from pipeline.errors import JobFailed
from pipeline.logs.run import DEFAULT_LOGS, LogOptions, RunLogs, new_run
from pipeline.run.cluster import Demand, open_cluster
from pipeline.run.lock import locked
from pipeline.storage import Store
from pipeline.training.claim import check_claim, claim
from pipeline.training.ray_look import look_on_ray
from pipeline.training.spec import TrainSpec


def train_on_ray(
    spec: TrainSpec,
    *,
    fresh: bool,
    steal_lock: bool,
    watch: Callable[[TrainingProgress], None],
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
    log_options: LogOptions = DEFAULT_LOGS,
) -> Fitted:
    """Train with ``spec.compute.workers`` processes; a group that lost a worker goes on from the last checkpoint.

    With [least, most] workers it goes on with those that are left, and grows again when there is room: Ray Train looks
    once per minute. What was done since the last checkpoint is done anew then.

    Raises:
        InputError: the spec, the data or the output cannot work, or the cluster cannot be reached; the output is as it
            was.
        JobFailed: a loss ran away, or the workers failed more often than ``compute.max_failures``.
    """
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    check_claim(store, spec, fresh=fresh)
    compute = spec.compute
    demand = Demand(compute.worker_range, compute.cpus, compute.gpus, compute.torch_threads, address=compute.address)
    cluster = open_cluster(demand)
    try:
        say(f"working {cluster.where}")
        first = look_on_ray(spec, fresh=fresh)
        # only now is the output touched
        with locked(store, spec.name, steal=steal_lock):
            claim(store, spec, fresh=fresh)
        logs = RunLogs(store, new_run(), spec.name, log_options)
        return _with_workers(spec, {"spec": spec.as_tree(), "logs": logs, "first": first}, watch, stop, logs.uri)
    finally:
        cluster.close()


def _with_workers(
    spec: TrainSpec,
    config: dict[str, Any],
    watch: Callable[[TrainingProgress], None],
    stop: Callable[[], bool],
    logs: str,
) -> Fitted:
    """Train with a group of workers, each of which gets ``config``; ``logs`` is where theirs are."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from pipeline.training.ray_failures import NoSecondTry, as_we_see_it

    compute = spec.compute
    least, most = compute.worker_range
    line = ray.remote(num_cpus=0)(_Line).remote()
    resources = {"CPU": compute.cpus} | ({"GPU": 1} if compute.gpus else {})
    try:
        with tempfile.TemporaryDirectory(prefix="sceneshift-train-") as scratch:
            trainer = TorchTrainer(
                _work,
                train_loop_config={**config, "line": line},
                torch_config=TorchConfig(backend="nccl" if compute.gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=most if least == most else (least, most),
                    use_gpu=bool(compute.gpus),
                    resources_per_worker=resources,
                ),
                # checkpoints go to the output by themselves; Ray Train keeps nothing but its own notes
                run_config=RunConfig(
                    name=spec.name,
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=compute.max_failures),
                    callbacks=[NoSecondTry()],
                ),
            )
            with _passed_on(line, watch) as ended:
                _fit(trainer, stop, line)
    except Exception as error:
        raise as_we_see_it(error, logs) from error
    if not ended:
        raise JobFailed("the workers ended without a word; run it again to go on from the last checkpoint")
    return ended[0]


class _Line:
    """The actor between driver and workers: progress one way, the order to stop the other."""

    def __init__(self) -> None:
        self.reports: list[TrainingProgress | Fitted] = []
        self.stopping = False

    def report(self, what: TrainingProgress | Fitted) -> None:
        self.reports.append(what)

    def take(self) -> list[TrainingProgress | Fitted]:
        taken, self.reports = self.reports, []
        return taken

    def stop(self) -> None:
        self.stopping = True

    def asked(self) -> bool:
        return self.stopping


def _fit(trainer: Any, stop: Callable[[], bool], line: Any) -> None:
    """Train in a thread of its own: Ray Train's handling of Ctrl-C, which drops the workers, is for main threads."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="fit", daemon=True)
    thread.start()
    passed_on = False
    while thread.is_alive():
        thread.join(timeout=0.5)
        if stop() and not passed_on:
            line.stop.remote()
            passed_on = True
    if failure:
        raise failure[0]


@contextlib.contextmanager
def _passed_on(line: Any, watch: Callable[[TrainingProgress], None]) -> Iterator[list[Fitted]]:
    """What the first worker reports is handed to ``watch``, to the last of it; yields how it ended."""
    import ray

    done = threading.Event()
    ended: list[Fitted] = []

    def pass_on() -> None:
        while True:
            ending = done.wait(timeout=0.5)
            for report in ray.get(line.take.remote()):
                if isinstance(report, Fitted):
                    ended[:] = [report]
                else:
                    watch(report)
            if ending:
                return

    thread = threading.Thread(target=pass_on, name="progress", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        done.set()
        thread.join(timeout=30)


def _work(config: dict[str, Any]) -> None:
    """What every worker runs."""
    import ray
    import ray.train
    from ray.train.torch import get_device

    from pipeline.training.ray_failures import as_ray_sees_it
    from pipeline.training.run import train

    context = ray.train.get_context()
    asked, looked_at = False, time.monotonic()

    def stop() -> bool:
        # the loop asks at every step, on every worker; one of them looks, once per second
        nonlocal asked, looked_at
        if context.get_world_rank() == 0 and not asked and time.monotonic() - looked_at > 1:
            looked_at = time.monotonic()
            asked = bool(ray.get(config["line"].asked.remote()))
        return asked

    reported = 0.0

    def report(progress: TrainingProgress) -> None:
        # a put costs more than many a step: the driver shows what is a second old
        nonlocal reported
        due = time.monotonic() - reported > 1 or progress.step == progress.steps
        if context.get_world_rank() == 0 and due:
            reported = time.monotonic()
            config["line"].report.remote(progress)

    try:
        fitted = train(
            TrainSpec.model_validate(config["spec"]),
            rank=context.get_world_rank(),
            world=context.get_world_size(),
            device=get_device(),
            # the driver took the lock and gave it back; a group before this one may have died with it
            steal_lock=True,
            watch=report,
            logs=config["logs"],
            stop=stop,
            first=config["first"],
        )
        if context.get_world_rank() == 0:
            ray.get(config["line"].report.remote(fitted))
    except (InputError, JobFailed) as error:
        raise as_ray_sees_it(error) from None
