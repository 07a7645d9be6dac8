"""`sceneshift train`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from jobs.console import DONE, Console
from jobs.progress import losses
from jobs.training import STOPPED, run_training
from methods.counting import counted
from pipeline.quantity import duration, size
from pipeline.storage import Store, redact
from pipeline.training.spec import TrainSpec


def train_command(
    console: Console,
    path: Path,
    overrides: list[str],
    *,
    fresh: bool,
    steal_lock: bool,
    export: Path | None = None,
    dry_run: bool = False,
) -> int:
    """Train with progress on standard error, or :func:`export_command`, or :func:`dry_run_command`; exit code."""
    spec = TrainSpec.load(path, overrides)
    if export is not None:
        return export_command(console, spec, export)
    if dry_run:
        return dry_run_command(console, spec)
    begun = time.monotonic()
    trained = run_training(console, spec, fresh=fresh, steal_lock=steal_lock)
    step, last = trained.step, trained.last
    store = Store(spec.output.uri, spec.output.storage)
    finished = trained.ended != "stopped"
    if finished and trained.started_at == step:
        console.result({"state": "nothing_to_do", "step": step, "output": redact(store.uri())})
        early = trained.ended == "patience" and step < spec.total_steps
        how = f"early at step {step}: {_no_better(spec)}" if early else f"at step {step}"
        console.say(f"Nothing to do: the training ended {how}.")
        if early:
            console.say("  to go on     raise validation.patience, or leave it out")
        console.say(f"  weights      {redact(store.uri('model.safetensors'))}")
        return DONE
    console.result(
        {
            "state": "done" if finished else "stopped",
            "step": step,
            "steps": spec.total_steps,
            "output": redact(store.uri()),
            "fingerprint": spec.fingerprint,
            "losses": dict(last.losses) if last else {},
            "seconds": round(time.monotonic() - begun, 2),
        }
    )
    if not finished:
        console.problem(f"stopped after step {step} of {spec.total_steps}; run it again to go on from there")
        return STOPPED
    if trained.ended == "patience":
        console.say(f"Ended early: {_no_better(spec)}")
    console.say(
        f"[bold]Done[/bold]: {counted(step, 'step')} of {spec.objective.name}" + (f"; {losses(last)}" if last else "")
    )
    console.say(f"  weights      {redact(store.uri('model.safetensors'))}")
    if spec.validation.best is not None:
        console.say(f"  best         {redact(store.uri('best.safetensors'))}, by {spec.validation.best}")
    console.say(f"  report       {redact(store.uri('report.html'))}")
    console.say(f"  tensorboard  {redact(store.uri('tensorboard'))}")
    return DONE


def _no_better(spec: TrainSpec) -> str:
    return f"no better {spec.validation.best} in {spec.validation.patience} validations"


def export_command(console: Console, spec: TrainSpec, path: Path) -> int:
    """Write the weights of the newest checkpoint; nothing is trained."""
    from pipeline.training.run import export_checkpoint

    step, written = export_checkpoint(spec, path)
    console.result({"state": "exported", "step": step, "weights": str(written)})
    console.say(f"Wrote the weights of step {step} to {written}")
    return DONE


def dry_run_command(console: Console, spec: TrainSpec) -> int:
    """Print what a training would cost; three steps are taken, nothing is written."""
    from pipeline.training.dry_run import dry_run

    found = dry_run(spec)
    console.result(asdict(found))
    rows = [
        ("samples", ", ".join(f"{name} {number:,}" for name, number in found.samples.items())),
        ("parameters", ", ".join(f"{name} {count / 1e6:.3g} M" for name, count in found.parameters.items())),
        ("peak memory", size(found.memory)),
        ("a step", duration(found.seconds_per_step)),
        (f"all {spec.total_steps:,} steps", f"{duration(found.hours * 3600)} with one worker"),
        ("losses", ", ".join(f"{name} {value:.4g}" for name, value in found.losses.items())),
    ]
    console.table(["", spec.name], rows)
    return DONE
