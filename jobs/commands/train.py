"""`sceneshift train`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.console import DONE, Console
from jobs.verbosity import verbosity
from methods.train.loop import Progress
from pipeline.logs.run import RunLogs, new_run
from pipeline.storage import Store, redact
from pipeline.training.spec import TrainSpec

EVERY_SECONDS = 10.0
_STOPPED = 130


def train_command(
    console: Console, path: Path, overrides: list[str], *, fresh: bool, steal_lock: bool, export: Path | None
) -> int:
    """Train with progress on standard error, or with ``export`` write the newest checkpoint's weights; exit code."""
    spec = TrainSpec.load(path, overrides)
    if export is not None:
        from pipeline.training.run import export_checkpoint

        step, written = export_checkpoint(spec, export)
        console.result({"state": "exported", "step": step, "weights": str(written)})
        console.say(f"Wrote the weights of step {step} to {written}")
        return DONE
    last: list[Progress] = []
    begun = time.monotonic()
    with _progress(console.quiet) as show:

        def watch(progress: Progress) -> None:
            last[:] = [progress]
            show(progress)

        if spec.compute.workers > 1 or spec.compute.address:
            from pipeline.training.ray import train_on_ray

            train_on_ray(
                spec,
                fresh=fresh,
                steal_lock=steal_lock,
                watch=watch,
                say=console.progress,
                log_options=verbosity().log_files,
            )
            step = spec.total_steps
        else:
            from pipeline.training.run import train

            logs = RunLogs(Store(spec.output.uri, spec.output.storage), new_run(), spec.name, verbosity().log_files)
            with _asked_to_stop() as stop:
                step = train(spec, fresh=fresh, steal_lock=steal_lock, watch=watch, stop=stop, logs=logs).step
    store = Store(spec.output.uri, spec.output.storage)
    finished = step == spec.total_steps
    console.result(
        {
            "state": "done" if finished else "stopped",
            "step": step,
            "steps": spec.total_steps,
            "output": redact(store.uri()),
            "fingerprint": spec.fingerprint,
            "losses": dict(last[0].losses) if last else {},
            "seconds": round(time.monotonic() - begun, 2),
        }
    )
    if not finished:
        console.problem(f"stopped after step {step} of {spec.total_steps}; run it again to go on from there")
        return _STOPPED
    console.say(f"[bold]Done[/bold]: {step} steps of {spec.objective.name}" + (f"; {_losses(last[0])}" if last else ""))
    console.say(f"  weights      {redact(store.uri('model.safetensors'))}")
    console.say(f"  tensorboard  {redact(store.uri('tensorboard'))}")
    return DONE


def _losses(progress: Progress) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(progress.losses.items())[:8])


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


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line every ten seconds elsewhere, nothing when ``quiet``."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        from rich.console import Console as Rich
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Bar(*columns, TextColumn("{task.description}"), console=Rich(stderr=True), transient=True) as bar:
            task = bar.add_task("loading", total=None)
            yield lambda p: bar.update(task, total=p.steps, completed=p.step, description=_losses(p))
    else:
        shown = -EVERY_SECONDS

        def line(progress: Progress) -> None:
            nonlocal shown
            if time.monotonic() - shown >= EVERY_SECONDS or progress.step == progress.steps:
                shown = time.monotonic()
                rate = f"{progress.steps_per_second:.3g} steps/s"
                text = f"sceneshift: step {progress.step}/{progress.steps}, {rate}, {_losses(progress)}"
                print(text, file=sys.stderr, flush=True)

        yield line
