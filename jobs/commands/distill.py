"""`sceneshift distill`."""

from __future__ import annotations

from pathlib import Path

from jobs.commands.train import dry_run_command, export_command
from jobs.console import DONE, Console
from jobs.training import STOPPED, run_training
from pipeline.quantity import duration
from pipeline.storage import Store, redact
from pipeline.training.comparison import compare, table, write_comparison
from pipeline.training.distillation import (
    DistillSpec,
    as_distillation,
    open_teacher,
    spelled_as_distillation,
    training_spec,
)
from pipeline.training.record import TrainingRecord
from pipeline.training.report.page import write_training_report


def distill_command(
    console: Console,
    path: Path,
    overrides: list[str],
    *,
    fresh: bool,
    steal_lock: bool,
    export: Path | None = None,
    dry_run: bool = False,
) -> int:
    """Train the student on the teacher's pairs, or do what is left of it; compare the two; exit code.

    With ``export`` or ``dry_run`` as :func:`jobs.commands.train.train_command`.
    """
    spec = DistillSpec.load(path, overrides)
    store, teacher = open_teacher(spec)
    with spelled_as_distillation():
        training = training_spec(spec, store)
        if export is not None:
            return export_command(console, training, export)
        if dry_run:
            return dry_run_command(console, training)
        trained = run_training(console, training, fresh=fresh, steal_lock=steal_lock)
    if trained.ended == "stopped":
        console.problem(
            f"stopped after step {trained.step} of {training.total_steps}; run it again to go on from there"
        )
        console.result({"state": "stopped", "step": trained.step, "steps": training.total_steps})
        return STOPPED
    output = Store(spec.output.uri, spec.output.storage)
    record = TrainingRecord.read(output) or TrainingRecord(trained.step, trained.ended, "model.safetensors")
    weights = output.uri(record.weights or "model.safetensors")
    with spelled_as_distillation():
        comparison = compare(spec, training, teacher, weights, lambda text: console.problem(as_distillation(text)))
    report = write_comparison(spec, teacher, weights, comparison)
    shown = table(comparison, teacher.method_label, report["method"]["name"])
    write_training_report(training, output, record, shown)
    console.result(report)
    console.say(
        f"[bold]Done[/bold]: {report['method']['name']} learned from {teacher.method_label}; "
        f"{comparison.pictures} held-out pictures"
    )
    console.table(["against the teacher", *shown["columns"]], [(row["name"], *row["cells"]) for row in shown["rows"]])
    if comparison.speedup is not None and comparison.teacher_seconds is not None:
        console.say(
            f"  {duration(comparison.student_seconds)} per picture, the teacher took "
            f"{duration(comparison.teacher_seconds)}: {comparison.speedup:.3g} times as fast"
        )
    console.say(f"  weights  {redact(weights)}")
    console.say(f"  report   {redact(output.uri('report.html'))}")
    return DONE
