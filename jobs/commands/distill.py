"""`sceneshift distill`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from jobs.training import STOPPED, run_training
from pipeline.quantity import duration
from pipeline.storage import Store, redact
from pipeline.training.distillation import DistillSpec, compare, open_teacher, split, training_spec, write_report


def distill_command(console: Console, path: Path, overrides: list[str], *, fresh: bool, steal_lock: bool) -> int:
    """Train the student on the teacher's pairs, or do what is left of it; compare the two; exit code."""
    spec = DistillSpec.load(path, overrides)
    store, teacher = open_teacher(spec)
    files = split(store, spec.held_out)
    training = training_spec(spec, store, files)
    trained = run_training(console, training, fresh=fresh, steal_lock=steal_lock)
    step = trained.step
    if trained.ended == "stopped":
        console.problem(f"stopped after step {step} of {training.total_steps}; run it again to go on from there")
        console.result({"state": "stopped", "step": step, "steps": training.total_steps})
        return STOPPED
    output = Store(spec.output.uri, spec.output.storage)
    weights = output.uri("model.safetensors")
    comparison = compare(spec, store, files, weights, console.problem)
    report = write_report(spec, teacher, weights, comparison)
    console.result(report)
    rows = [
        (name, f"{value:.4g}", f"{comparison.untouched.get(name, float('nan')):.4g}")
        for name, value in comparison.agreement.items()
    ]
    console.say(
        f"[bold]Done[/bold]: {report['method']['name']} learned from {teacher.method_label}; "
        f"{comparison.pictures} held-out pictures"
    )
    console.table(["against the teacher", "student", "source untouched"], rows)
    if comparison.speedup is not None and comparison.teacher_seconds is not None:
        console.say(
            f"  {duration(comparison.student_seconds)} per picture, the teacher took "
            f"{duration(comparison.teacher_seconds)}: {comparison.speedup:.3g} times as fast"
        )
    console.say(f"  weights  {redact(weights)}")
    return DONE
