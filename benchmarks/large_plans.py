"""What it costs to plan large sources: loose pictures, and rows of a manifest.

    python benchmarks/large_plans.py [--files 100000] [--rows 1000000]

Each is ``sceneshift plan`` in a process of its own, on a local disk; its peak is the largest resident set that the
system has counted for it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "large_plans.md"
PER_FOLDER = 1000
# The smallest PNG there is: plans look at names, sizes and times, not at pixels.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c6360606000000004000127"
    "34270a0000000049454e44ae426082"
)
SPEC = """
source: {{uri: {source}}}
method: {{name: cyclegan_turbo, preset: street_day_to_night}}
output: {{uri: {out}}}
metrics: []
"""


def write_pictures(folder: Path, files: int) -> None:
    """So many pictures, a thousand a folder, every tenth with a caption beside it."""
    for number in range(files):
        path = folder / f"{number // PER_FOLDER:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)
        if number % 10 == 0:
            path.with_suffix(".txt").write_text("a street")


def write_manifest(path: Path, rows: int) -> None:
    """A CSV of so many rows: address, split, weather."""
    with path.open("w") as out:
        out.write("path,split,weather\n")
        for number in range(rows):
            out.write(f"pictures/{number // PER_FOLDER:04d}/{number:07d}.jpg,train,clear\n")


def measure(source: Path, scratch: Path) -> tuple[int, float, float]:
    """(samples, seconds of CPU, MiB at the peak) of planning a source."""
    spec = scratch / "job.yaml"
    spec.write_text(SPEC.format(source=source, out=scratch / "out"))
    command = f"import sys; from jobs.cli import main; sys.argv[1:] = ['plan', {str(spec)!r}, '--json']; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout)["samples"], used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def measured_apart(source: Path, scratch: Path) -> tuple[int, float, float]:
    """As :func:`measure`, from a process of its own: the system keeps one peak for all children of a process."""
    command = [sys.executable, "-P", __file__, "--measure", str(source), str(scratch)]
    samples, seconds, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return samples, seconds, peak


def main() -> None:
    """Measure both and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, type=Path)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    lines = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        few = scratch / "few"
        write_pictures(few, 10)
        write_pictures(scratch / "many", arguments.files)
        write_manifest(scratch / "manifest.csv", arguments.rows)
        sources = {"10 loose pictures": few, "loose pictures": scratch / "many", "manifest": scratch / "manifest.csv"}
        for what, source in sources.items():
            samples, seconds, peak = measured_apart(source, scratch)
            title = (
                what if what.startswith("10") else f"{samples:,} {'rows of a CSV ' if what == 'manifest' else ''}{what}"
            )
            lines.append(f"| {title} | {seconds:.1f} s | {peak:,.0f} MiB |")
    text = "\n".join(
        [
            "# Planning large sources",
            "",
            "`python benchmarks/large_plans.py` prints this; local disk, the whole command with its start.",
            "",
            "| source | CPU | peak memory |",
            "| --- | ---: | ---: |",
            *lines,
            "",
        ]
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
