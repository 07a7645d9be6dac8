"""`sceneshift preview`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.console import DONE, Console
from pipeline import quantity
from pipeline.preview import preview_jobs
from pipeline.spec import JobSpec


def preview_command(console: Console, paths: Sequence[Path], overrides: list[str], count: int, out: Path) -> int:
    """Write the side-by-side picture of one job or several, and say what it takes per picture."""
    seconds = preview_jobs([JobSpec.load(path, overrides) for path in paths], count, out, console.note)
    console.result({"preview": str(out), "seconds_per_image": seconds})
    for name, each in seconds.items():
        took = "translated nothing" if each is None else f"{quantity.duration(each)} per picture on this machine"
        console.say(f"{name}: {took}")
    console.say(f"Wrote {out}")
    return DONE
