"""`sceneshift verify`."""

from __future__ import annotations

from dataclasses import asdict

from jobs.commands.output import open_output
from jobs.console import DONE, FAILED, Console
from methods.counting import counted
from pipeline.output.verify import verify
from pipeline.storage import redact


def verify_command(console: Console, output: str, *, decode: bool) -> int:
    """Check an output; exit code 3 when something is wrong with it."""
    store, _ = open_output(output)
    verdict = verify(store, decode=decode)
    console.result(asdict(verdict))
    counts = f"{counted(verdict.parts, 'shard')}, {counted(verdict.rows, 'row')} ({verdict.ok:,} ok)"
    if not verdict.sound:
        for problem in verdict.problems:
            console.problem(problem)
        console.say(
            f"[bold red]Damaged[/bold red]: {redact(store.uri())}, {counts}, "
            f"{counted(verdict.problem_count, 'problem')}"
        )
        return FAILED
    console.say(f"[bold]Sound[/bold]: {redact(store.uri())}, {counts}")
    if verdict.orphans:
        console.say(
            f"  {counted(len(verdict.orphans), 'data file', 'is/are')} not committed; a run overwrites what lies there"
        )
    return DONE
