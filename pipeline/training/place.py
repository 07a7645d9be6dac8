"""Where a training runs: in this process, or as several workers on Ray. Both make checkpoints in the same place."""

from __future__ import annotations

from collections.abc import Callable

from methods.train.loop import Fitted, TrainingProgress
from pipeline.logs.run import DEFAULT_LOGS, LogOptions, RunLogs, new_run
from pipeline.run.writable import try_to_write
from pipeline.storage import Store
from pipeline.training.spec import TrainSpec


def run_training(
    spec: TrainSpec,
    *,
    fresh: bool = False,
    steal_lock: bool = False,
    watch: Callable[[TrainingProgress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
    log_options: LogOptions = DEFAULT_LOGS,
) -> Fitted:
    """Train to the end, or until ``stop`` says so. A finished training returns at once.

    Args:
        watch, stop: see :func:`methods.train.loop.fit`.
        say: called with a line for a person: where the work is done.
        log_options: of the log files, below `_sceneshift/logs`.

    Raises:
        InputError: what cannot work, an output in which nothing can be written first of all; nothing has been written.
        JobFailed: a loss ran away, or workers died more often than the spec allows; checkpoints stay.
    """
    from pipeline.training.run import finished, train

    store = Store(spec.output.uri, spec.output.storage)
    if not fresh and (done := finished(store, spec)) is not None:
        return done
    store.require_bucket()
    try_to_write(store)
    if spec.compute.on_ray:
        from pipeline.training.ray import train_on_ray

        return train_on_ray(
            spec,
            fresh=fresh,
            steal_lock=steal_lock,
            watch=watch,
            stop=stop,
            say=say,
            log_options=log_options,
        )
    logs = RunLogs(store, new_run(), spec.name, log_options)
    return train(spec, fresh=fresh, steal_lock=steal_lock, watch=watch, stop=stop, logs=logs)
