"""`sceneshift verify`."""

from __future__ import annotations

from dataclasses import asdict

from jobs.commands.output import open_output
from jobs.console import DONE, FAILED, Console
from pipeline.output.verify import verify
from pipeline.storage import redact


def verify_command(console: Console, output: str, *, decode: bool) -> int:
    """Check an output; exit code 3 when something is wrong with it."""
    store, _ = open_output(output)
    verdict = verify(store, decode=decode)
    console.result(asdict(verdict))
    counts = f"{verdict.parts} shards, {verdict.rows} rows ({verdict.ok} ok)"
    if not verdict.sound:
        for problem in verdict.problems:
            console.problem(problem)
        console.say(f"[bold red]Damaged[/bold red]: {redact(store.uri())}, {counts}, {verdict.problem_count} problems")
        return FAILED
    console.say(f"[bold]Sound[/bold]: {redact(store.uri())}, {counts}")
    if verdict.orphans:
        console.say(f"  {len(verdict.orphans)} data files are not committed; a run overwrites them")
    return DONE
