"""Training as a command does it: here or on Ray, with progress, and a checkpoint when it is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs.console import Console
from jobs.progress import progress_view, training_shown
from jobs.verbosity import verbosity
from methods.train.loop import Progress
from pipeline.logs.run import RunLogs, new_run
from pipeline.storage import Store
from pipeline.training.spec import TrainSpec

STOPPED = 130
"""Exit code of a training that was asked to stop and wrote a checkpoint."""


@dataclass(frozen=True)
class Trained:
    """How far a training came: its last step, and the last progress that was seen."""

    step: int
    last: Progress | None


def run_training(console: Console, spec: TrainSpec, *, fresh: bool, steal_lock: bool) -> Trained:
    """Train, or go on from the last checkpoint.

    Raises:
        InputError, JobFailed: as :func:`pipeline.training.run.train` and ``train_on_ray``.
    """
    last: Progress | None = None
    with progress_view(console.quiet, training_shown, "loading") as show:

        def watch(progress: Progress) -> None:
            nonlocal last
            last = progress
            show(progress)

        if spec.compute.workers > 1 or spec.compute.address:
            from pipeline.training.ray import train_on_ray

            options = verbosity().log_files
            say = console.progress
            train_on_ray(spec, fresh=fresh, steal_lock=steal_lock, watch=watch, say=say, log_options=options)
            return Trained(spec.total_steps, last)
        from pipeline.training.run import train

        logs = RunLogs(Store(spec.output.uri, spec.output.storage), new_run(), spec.name, verbosity().log_files)
        with _asked_to_stop() as stop:
            step = train(spec, fresh=fresh, steal_lock=steal_lock, watch=watch, stop=stop, logs=logs).step
    return Trained(step, last)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came: the loop then writes a checkpoint. A second one kills as usual."""
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[signal.Signals(number)])
        print("sceneshift: writing a checkpoint, then stopping", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
