"""`sceneshift finalise`."""

from __future__ import annotations

from dataclasses import asdict

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from methods.counting import counted
from pipeline.paths import REPORT_FILE
from pipeline.run.ending import finalise_output


def finalise_command(console: Console, output: str) -> int:
    """Summarise an output under its lock, as the last part of a job does; says what is still to be made."""
    store, record = open_output(output)
    rows, unfinished = finalise_output(store, record)
    console.result({"output": store.uri(), "rows": asdict(rows), "unfinished_files": unfinished})
    console.say(
        f"Summarised {counted(rows.attempted, 'row')}, {rows.ok:,} of them translated: {store.uri(REPORT_FILE)}"
    )
    if unfinished is None:
        console.say("The output holds no plan, so whether it is finished is not known: run the job once more")
    elif unfinished:
        console.say(
            f"{counted(unfinished, 'source file', 'is/are')} not finished: run the missing parts, or the job, again"
        )
    return DONE
