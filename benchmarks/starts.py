"""From the command to the first committed shard: on Ray and in one process, with nothing to load and a small model.

    python benchmarks/starts.py [--times 3]

Each command is a process of its own, on 8 street scenes of 128 x 128 pixels, with byte code compiled at installation.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "starts.md"
if __name__ == "__main__":
    # In front stood this folder, whose pipeline.py is not the package of that name.
    sys.path[:1] = [str(ROOT)]

import yaml  # noqa: E402

from benchmarks.pipeline import machine  # noqa: E402

METHODS: dict[str, dict[str, Any]] = {
    "nothing to load": {"name": "null"},
    "the bundled CycleGAN-Turbo": {"name": "cyclegan_turbo", "preset": "street_day_to_night"},
}
WAYS = {"Ray, 1 worker": [], "`--local`": ["--local"]}


def environment() -> dict[str, str]:
    """Of the commands: this checkout and the test methods."""
    path = os.pathsep.join([str(ROOT / "tests" / "plugin"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def timed(folder: Path, method: dict[str, Any], words: list[str]) -> tuple[float, float]:
    """Seconds until the first index part is there, and until the command ends."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    job = folder / "job.yaml"
    tree = {
        "source": {"uri": f"{folder}/streets/day/*.tar"},
        "method": method,
        "output": {"uri": str(out)},
        "metrics": [],
        "compute": {"workers": 1},
    }
    job.write_text(yaml.safe_dump(tree))
    begun = time.monotonic()
    command = [sys.executable, "-P", "-m", "jobs", "run", str(job), *words]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while not any((out / "index").glob("[!.]*")):
            if run.poll() not in (None, 0):
                raise SystemExit(f"{' '.join(command)}: exit code {run.returncode}")
            time.sleep(0.01)
        first = time.monotonic() - begun
        run.wait()
    return first, time.monotonic() - begun


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="of each command; the table has the median")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = ["sample-data", str(folder / "streets"), "--scenes", "8", "--size", "128", "--conditions", "day"]
        subprocess.run(
            [sys.executable, "-P", "-m", "jobs", *scenes], env=environment(), check=True, capture_output=True
        )
        for what, method in METHODS.items():
            for way, words in WAYS.items():
                times = [timed(folder, method, words) for _ in range(arguments.times)]
                first, whole = (statistics.median(each) for each in zip(*times, strict=True))
                lines.append(f"| {what} | {way} | {first:.1f} s | {whole:.1f} s |")
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = "\n".join(
        [
            "# From the command to the first committed shard",
            "",
            f"`python benchmarks/starts.py`, {when}, {machine()}, load average {load:.1f} before.",
            "",
            "| method | way | first shard | whole run of 8 pictures |",
            "| --- | --- | ---: | ---: |",
            *lines,
            "",
        ]
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
