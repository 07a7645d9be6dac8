"""`sceneshift refilter`."""

from __future__ import annotations

from rich.markup import escape

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from methods.errors import InputError
from pipeline.job import Job
from pipeline.paths import REPORT_FILE, VIEW_FILE
from pipeline.run.refilter import refilter
from pipeline.storage import redact


def refilter_command(console: Console, output: str, keep: str | None, *, undo: bool) -> int:
    """Filter an output again without translating, or take the filter back."""
    if undo == (keep is not None):
        raise InputError("refilter: give either --keep EXPRESSION or --undo")
    store, record = open_output(output)
    job = Job.from_record(record, store)
    filtered = store.exists(VIEW_FILE)
    rows = refilter(job, keep).rows
    console.result({"output": redact(store.uri()), "keep": keep, "rows": vars(rows)})
    taken = "The filter is taken back" if filtered else "There was no filter to take back"
    said = taken if undo else f"Filtered by: {escape(str(keep))}"
    console.say(f"{said}. {rows.ok} kept, {rows.filtered} filtered, {rows.rejected} rejected of {rows.attempted}.")
    if record.spec.keep and not undo:
        console.say(f"  what the job itself filtered ({record.spec.keep}) has no pictures and stays out")
    console.say(f"  report   {store.uri(REPORT_FILE)}")
    return DONE
