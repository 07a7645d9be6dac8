"""`sceneshift distill`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from jobs.console import DONE, Console
from jobs.verbosity import verbosity
from methods.train.loop import Progress
from pipeline.logs.run import RunLogs, new_run
from pipeline.storage import Store, redact
from pipeline.training.distillation import DistillSpec, judge, open_teacher, split, training_spec, write_report

_EVERY_SECONDS = 10.0


def distill_command(console: Console, path: Path, overrides: list[str], *, fresh: bool, steal_lock: bool) -> int:
    """Train the student on the teacher's pairs, or do what is left of it; compare the two; exit code."""
    spec = DistillSpec.load(path, overrides)
    store, teacher = open_teacher(spec)
    files = split(store, spec.held_out)
    training = training_spec(spec, store, files)
    shown = -_EVERY_SECONDS

    def watch(progress: Progress) -> None:
        nonlocal shown
        if not console.quiet and (time.monotonic() - shown >= _EVERY_SECONDS or progress.step == progress.steps):
            shown = time.monotonic()
            losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
            print(f"sceneshift: step {progress.step}/{progress.steps}, {losses}", file=sys.stderr, flush=True)

    if training.compute.workers > 1 or training.compute.address:
        from pipeline.training.ray import train_on_ray

        train_on_ray(
            training,
            fresh=fresh,
            steal_lock=steal_lock,
            watch=watch,
            say=console.progress,
            log_options=verbosity().log_files,
        )
    else:
        from pipeline.training.run import train

        logs = RunLogs(Store(spec.output.uri, spec.output.storage), new_run(), spec.name, verbosity().log_files)
        train(training, fresh=fresh, steal_lock=steal_lock, watch=watch, logs=logs)
    output = Store(spec.output.uri, spec.output.storage)
    weights = output.uri("model.safetensors")
    verdict = judge(spec, store, files, weights, console.problem)
    report = write_report(spec, teacher, weights, verdict)
    console.result(report)
    rows = [
        (name, f"{value:.4g}", f"{verdict.untouched.get(name, float('nan')):.4g}")
        for name, value in verdict.agreement.items()
    ]
    console.say(
        f"[bold]Done[/bold]: {report['method']['name']} learned from {teacher.method_label}; "
        f"{verdict.pictures} held-out pictures"
    )
    console.table(["against the teacher", "student", "source untouched"], rows)
    if verdict.speedup is not None and verdict.teacher_seconds is not None:
        console.say(
            f"  {1000 * verdict.student_seconds:.3g} ms a picture, the teacher took "
            f"{1000 * verdict.teacher_seconds:.3g} ms: {verdict.speedup:.3g} times as fast"
        )
    console.say(f"  weights  {redact(weights)}")
    return DONE
