"""`sceneshift report`."""

from __future__ import annotations

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from pipeline.job import Job
from pipeline.output.finalise import finalise
from pipeline.paths import REPORT_FILE, SUCCESS_FILE


def report_command(console: Console, output: str) -> int:
    """Compute index, metrics, card and report of an output anew from what is committed."""
    store, record = open_output(output)
    finalise(Job.from_record(record, store), complete=store.exists(SUCCESS_FILE))
    console.result({"report": store.uri(REPORT_FILE)})
    console.say(f"Wrote {store.uri(REPORT_FILE)}")
    return DONE
