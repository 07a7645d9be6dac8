"""`make gallery`: renders a few streets, runs the gallery's jobs, writes page and sheet. Needs no network."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from jobs.commands.sample_data import sample_data_command
from jobs.console import Console, run_safely
from jobs.gallery.build import SAMPLES, build
from methods.counting import counted

OUT = Path("demo-out/gallery")
SPECS = Path(__file__).resolve().parent.parent / "examples" / "gallery"
FIRST_SEED = 9_900_000
"""No training spec has scenes from here on."""


def gallery(console: Console) -> int:
    """Write ``demo-out/gallery/index.html`` and ``sheet.jpg``; what was done before is not done again."""
    begun = time.monotonic()
    print("rendering streets", file=sys.stderr)
    sample_data_command(console, str(OUT / "streets"), SAMPLES, "128", "day", FIRST_SEED, "webdataset", "night")
    exhibits, absent = build(sorted(SPECS.glob("*.yaml")), OUT, note=lambda text: print(text, file=sys.stderr))
    console.say(f"{counted(len(exhibits), 'job')} shown in {OUT / 'index.html'}, contact sheet {OUT / 'sheet.jpg'}")
    for each in absent:
        console.say(f"  not shown: {each.method} ({each.reason})")
    console.say(f"That took {time.monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    try:
        run_safely(Console(as_json=False), gallery)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
