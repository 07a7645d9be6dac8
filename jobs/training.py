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
from methods.train.loop import TrainingProgress
from pipeline.training import place
from pipeline.training.spec import TrainSpec

STOPPED = 130
"""Exit code of a training that was asked to stop and wrote a checkpoint."""


@dataclass(frozen=True)
class Trained:
    """How far a training came: where it began, its last step, how it ended, and the last progress that was seen."""

    started_at: int
    step: int
    ended: str
    last: TrainingProgress | None


def run_training(console: Console, spec: TrainSpec, *, fresh: bool, steal_lock: bool) -> Trained:
    """Train, or go on from the last checkpoint.

    Raises:
        InputError, JobFailed: as :func:`pipeline.training.place.run_training`.
    """
    last: TrainingProgress | None = None
    with progress_view(console.quiet, training_shown, "loading") as show:

        def watch(progress: TrainingProgress) -> None:
            nonlocal last
            last = progress
            show(progress)

        with _asked_to_stop() as stop:
            fitted = place.run_training(
                spec,
                fresh=fresh,
                steal_lock=steal_lock,
                watch=watch,
                stop=stop,
                say=console.progress,
                log_options=verbosity().log_files,
            )
    return Trained(fitted.started_at, fitted.step, fitted.ended, last)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came: the loop then writes a checkpoint. A second one of either kills as usual."""
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        restore()
        print("sceneshift: writing a checkpoint, then stopping", file=sys.stderr, flush=True)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        restore()
