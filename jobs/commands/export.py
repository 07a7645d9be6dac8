"""`sceneshift export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from jobs.progress import counting
from methods.counting import counted
from methods.errors import InputError
from pipeline.job import Job
from pipeline.output.export.run import ExportOptions, ExportSummary, export_folder
from pipeline.output.export.single import SINGLE, export_file
from pipeline.storage import Store, absolute, redact


def export_command(console: Console, output: str, out: str, options: ExportOptions, *, only_labels: bool) -> int:
    """Write labels and pictures as trainers load them; a target that ends with .json is one file of labels.

    Args:
        only_labels: whether nothing was said that only a folder can have.
    """
    options.check()
    store, record = open_output(output)
    job = Job.from_record(record, store)
    if out.lower().endswith(".json"):
        if options.format not in SINGLE:
            raise InputError(f"--format {options.format}: one file is coco or bdd100k; give a folder: {out[:-5]}")
        if not only_labels:
            raise InputError(f"{out}: one file has neither pictures nor splits nor flags; give a folder: {out[:-5]}")
        with counting("pictures", quiet=console.quiet) as watch:
            summary = export_file(job, Path(out), options.format, options.where, watch)
        console.result({"file": out, **asdict(summary)})
        console.say(f"Wrote the labels of {counted(summary.pictures, 'picture')} to {out}")
    else:
        target = Store(absolute(out), store.options)
        with counting("pictures", quiet=console.quiet) as watch:
            summary = export_folder(job, target, options, watch)
        # asdict() makes pairs of the keys of a Counter
        console.result({"folder": target.uri(), **asdict(summary), "splits": dict(summary.splits)})
        shares = ", ".join(f"{name} {count}" for name, count in summary.splits.items())
        console.say(
            f"Wrote {counted(summary.pictures, 'picture')} as {options.format} to {redact(target.uri())}: {shares}"
        )
        if options.images != "none" and summary.written < summary.pictures:
            console.say(f"  {counted(summary.pictures - summary.written, 'picture', 'was/were')} there already")
    if not summary.annotations:
        console.say("  none of them has an annotation: the output holds no labels of these pictures")
    _say_what_is_left_out(console, summary)
    return DONE


def _say_what_is_left_out(console: Console, summary: ExportSummary) -> None:
    for what, count in summary.left_out.items():
        console.say(f"  {count} {what}")
