"""What `plan --calibrate` expects of a job beside what the job takes: street scenes by the demo's method and size.

    python benchmarks/estimates.py [--scenes 128] [--samples 32]

Each command is a process of its own. The estimate begins when the workers have started, and so does what is compared
with it: from the first shard begun to the last committed. Ends with exit code 1 where one is more than twice the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "estimates.md"
PARTS = 4
OVER = 2.0
"""How far apart the two may be."""
CASES = {
    "one process (`--local`)": (["--set", "compute.workers=1"], ["--local"]),
    "Ray, two workers": (["--set", "compute.workers=2"], []),
}


def sceneshift(*words: str | Path) -> Any:
    """What a command prints as JSON."""
    command = [sys.executable, "-P", "-m", "jobs", *map(str, words), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def compared(folder: Path, samples: int, case: str) -> tuple[float, float]:
    """(seconds expected, seconds taken) of the demo's job on the scenes in a folder."""
    changes, more = CASES[case]
    job = [ROOT / "jobs" / "examples" / "demo.yaml", "--set", f"source.uri={folder}/streets/*/day/*.tar"]
    job += ["--set", f"output.uri={folder}/out-{len(more)}", *changes]
    expected = sceneshift("plan", *job, "--calibrate", str(samples))["seconds"]
    run = sceneshift("run", *job, *more)["this_run"]
    return expected, (run["ok"] + run["filtered"] + run["rejected"]) / run["images_per_second"]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=128)
    parser.add_argument("--samples", type=int, default=32)
    arguments = parser.parse_args()
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for part in range(PARTS):
            scenes = ("--scenes", str(arguments.scenes // PARTS), "--size", "256", "--seed", str(9000 + 1000 * part))
            sceneshift("sample-data", Path(name) / "streets" / str(part), *scenes, "--conditions", "day")
        for case in CASES:
            found[case] = compared(Path(name), arguments.samples, case)
    lines = [
        f"| {case} | {expected:.0f} s | {took:.0f} s | {expected / took:.2f} |"
        for case, (expected, took) in found.items()
    ]
    text = "\n".join(
        [
            "# Estimates beside what runs took",
            "",
            f"`python benchmarks/estimates.py`: {arguments.scenes} street scenes of 256 x 256 by the demo's method,",
            f"estimated by `plan --calibrate {arguments.samples}`; two CPU cores.",
            "",
            "| run | estimated | took | ratio |",
            "| --- | ---: | ---: | ---: |",
            *lines,
            "",
        ]
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
    if any(not 1 / OVER <= expected / took <= OVER for expected, took in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
