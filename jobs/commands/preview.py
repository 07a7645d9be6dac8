"""`sceneshift preview`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from pipeline.preview import preview
from pipeline.spec import JobSpec


def preview_command(console: Console, path: Path, overrides: list[str], count: int, out: Path) -> int:
    """Write the side-by-side picture."""
    written = preview(JobSpec.load(path, overrides), count, out)
    console.result({"preview": str(written)})
    console.say(f"Wrote {written}")
    return DONE
