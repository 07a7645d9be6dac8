"""`sceneshift run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jobs.console import DONE, OVER_LIMIT, Console
from jobs.progress import progress_view, run_shown
from jobs.quiet import quiet_native_stderr
from jobs.verbosity import verbosity
from methods.counting import counted, does
from pipeline import quantity
from pipeline.job_record import stored_job
from pipeline.output.report.survival import Survival
from pipeline.paths import DATA, IMAGES, MERGED_INDEX, REPORT_FILE
from pipeline.run.driver import Order, Outcome, run_job
from pipeline.run.lock import Busy, shows_life
from pipeline.run.parts import WHOLE, Part
from pipeline.run.progress import Progress
from pipeline.run.targets import run_targets
from pipeline.sink.label_counts import describe_labels
from pipeline.spec import JobSpec
from pipeline.storage import redact


def run_command(
    console: Console,
    path: Path,
    overrides: list[str],
    *,
    local: bool,
    fresh: bool,
    steal_lock: bool,
    processes: int = 1,
    part: str | None = None,
    if_busy: Literal["fail", "skip"] = "fail",
) -> int:
    """Run a job with progress on standard error; returns the exit code.

    With ``if_busy="skip"`` an output that another run is at work on is left to it, which counts as done. A scheduler's
    second attempt comes before the lock of the first, which died, has run out: it waits for that and goes on.
    """
    piece = WHOLE if part is None else Part.parse(part)
    options = {"local": local, "processes": processes, "part": piece, "fresh": fresh, "steal_lock": steal_lock}
    while True:
        try:
            return _run(console, path, overrides, **options)
        except Busy as error:
            if if_busy == "fail":
                raise
            said = redact(str(error))
            console.progress(f"{said}: looking whether it is alive")
            if shows_life(error):
                console.problem(f"skipped: {said}")
                console.result({"state": "skipped", "reason": said})
                return DONE


def _run(
    console: Console,
    path: Path,
    overrides: list[str],
    *,
    local: bool,
    processes: int,
    part: Part,
    fresh: bool,
    steal_lock: bool,
) -> int:
    spec = JobSpec.load(path, overrides)
    if not local:
        quiet_native_stderr()
    with progress_view(console.quiet, run_shown, "starting workers") as watch:
        latest = Progress()

        def seen(progress: Progress) -> None:
            nonlocal latest
            latest = progress
            watch(progress)

        try:
            options: dict[str, Any] = {
                "local": local,
                "processes": processes,
                "part": part,
                "steal_lock": steal_lock,
                "watch": seen,
                "say": console.progress,
                "log_options": verbosity().log_files,
            }
            if spec.targets:
                outcomes = run_targets(spec, Order(**options), fresh=fresh)
            else:
                outcomes = {"": run_job(spec, fresh=fresh, **options)}
        except (KeyboardInterrupt, SystemExit) as stopped:
            committed = latest.before + latest.shards
            stopped.add_note(
                f"{counted(committed, 'shard', 'is/are')} committed, "
                f"{counted(latest.attempted, 'image')} of them by this run"
            )
            raise
    for target, outcome in outcomes.items():
        before = f"{target}: " if target else ""
        for text in (*outcome.warnings, *(finding.text() for finding in outcome.findings)):
            console.note(before + text)
    documents = {target: _document(outcome) for target, outcome in outcomes.items()}
    console.result({"targets": documents} if spec.targets else documents[""])
    for target, outcome in outcomes.items():
        if target:
            console.say(f"\n[bold]Target {target}[/bold]")
        _tell(console, outcome)
    if missing := ", ".join(name for name in spec.targets if name not in outcomes):
        console.say(f"Not begun: {missing}")
    over = any(outcome.state == "too_many_rejects" for outcome in outcomes.values())
    return OVER_LIMIT if over else DONE


def _document(outcome: Outcome) -> dict[str, Any]:
    progress = outcome.progress
    return {
        "state": outcome.state,
        "output": outcome.job.store.uri(),
        "run": outcome.run,
        "fingerprint": outcome.job.fingerprint,
        "this_run": {
            "shards": progress.shards,
            "ok": progress.ok,
            "filtered": progress.filtered,
            "rejected": progress.rejected,
            "bytes_in": progress.bytes_in,
            "bytes_out": progress.bytes_out,
            "workers_crashed": progress.losses.crashes,
            "workers_preempted": progress.losses.preemptions,
            "images_per_second": round(progress.images_per_second, 3),
            "startup_seconds": None if progress.first_started is None else progress.first_started - progress.began,
        },
        "estimate": _compared(outcome),
        "unfinished_files": outcome.unfinished,
        "metrics": outcome.summary.as_tree(),
        "warnings": outcome.warnings,
        "findings": [finding.as_dict() for finding in outcome.findings],
    }


def _compared(outcome: Outcome) -> dict[str, Any] | None:
    """What was expected of the run beside what it took, in seconds from the first shard begun to the last committed."""
    guess, took = outcome.estimated, outcome.progress.seconds
    if guess is None or guess.speed is None or took is None:
        return None
    return {"seconds": guess.seconds, "took": took, "speed_from": guess.speed.origin, "workers": guess.workers}


def _tell(console: Console, outcome: Outcome) -> None:
    store = outcome.job.store
    if outcome.state == "nothing_to_do":
        console.say(f"Nothing to do: all of {store.uri()} is committed ({counted(outcome.progress.before, 'shard')}).")
        return
    if not outcome.summarised:
        console.say(
            f"[bold]Part done[/bold]: {counted(outcome.progress.attempted, 'sample')} by this run; "
            f"{counted(outcome.unfinished, 'source file')} of other parts {does(outcome.unfinished, 'is/are')} not "
            "finished. The last part to end summarises the output, as does `sceneshift finalise`"
        )
        return
    rows = outcome.summary.rows
    verb = {
        "too_many_rejects": "Stopped, too many rejects",
        "stopped": "Stopped, another target has too many rejects",
    }.get(outcome.state, "Done")
    console.say(
        f"[bold]{verb}[/bold]: {rows.ok} translated, {rows.filtered} filtered, {rows.rejected} rejected "
        f"of {rows.attempted}; this run {outcome.progress.images_per_second:.1f} images/s"
    )
    if compared := _compared(outcome):
        console.say(
            f"  estimated {quantity.duration(compared['seconds'])} from {compared['speed_from']}, "
            f"took {quantity.duration(compared['took'])}"
        )
    if lines := describe_labels(outcome.summary.labels):
        console.table(["labels"], [(line,) for line in lines])
    record = stored_job(store)
    if record is not None and (survival := Survival.of(record, outcome.summary)):
        console.table(["do the labels hold"], [(line,) for line in survival.notes])
    columns = outcome.summary.columns
    if columns:
        table = [
            (
                name,
                each.count,
                _number(each.mean),
                _number(each.std),
                _number(each.min),
                _number(each.max),
            )
            for name, each in columns.items()
            if each.count
        ]
        console.table(["metric", "samples", "mean", "std", "min", "max"], table)
        if without := ", ".join(name for name, each in columns.items() if not each.count):
            console.say(f"  without any value: {without}")
    for name, value in outcome.summary.dataset.items():
        console.say(f"  {name}: {value:.4f}")
    if outcome.summary.reasons:
        console.table(["rejected because", "samples"], sorted(outcome.summary.reasons.items(), key=lambda r: -r[1]))
        console.say(f"  why      sceneshift status {redact(store.uri())} --errors")
    loose = outcome.job.spec.output.format == "files"
    console.say(f"  images   {store.uri(IMAGES if loose else DATA)}")
    console.say(f"  index    {store.uri(MERGED_INDEX)}")
    console.say(f"  report   {store.uri(REPORT_FILE)}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
