"""The first thing a new user runs: render streets, translate them by night through Ray, show where it all is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from jobs.commands.run import run_command
from jobs.commands.sample_data import sample_data_command
from jobs.console import Console, run_safely

OUT = Path("demo-out")
SCENES = 32
SPEC = Path(__file__).parent / "examples" / "demo.yaml"


def demo(console: Console) -> int:
    """Run the demo below ./demo-out; running it again shows that a finished job has nothing to do."""
    begun = time.monotonic()
    print(f"1/2  rendering {SCENES} street scenes by day, with their true night and all labels", file=sys.stderr)
    sample_data_command(console, str(OUT / "streets"), SCENES, "256", "day", 9000, "webdataset", "night")
    print("2/2  translating them to night: Ray Data, one worker per core, bundled mini model", file=sys.stderr)
    code = run_command(console, SPEC, [], local=False, fresh=False, steal_lock=False)
    seconds = time.monotonic() - begun
    console.say(f"\nThat took {seconds:.0f} s. Open the report in a browser first, then try:")
    for command in (
        ".venv/bin/sceneshift preview jobs/examples/demo.yaml -n 4 -o demo-out/preview.png",
        ".venv/bin/sceneshift verify demo-out/streets-by-night",
        ".venv/bin/sceneshift export demo-out/streets-by-night demo-out/labels_coco.json",
    ):
        console.say(f"  {command}")
    return code


if __name__ == "__main__":
    import typer

    try:
        run_safely(Console(as_json=False), demo)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
