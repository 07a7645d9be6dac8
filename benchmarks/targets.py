"""What three targets of one job cost, in CPU seconds of one core, against three separate jobs.

`python benchmarks/targets.py` renders streets and translates them with the bundled CycleGAN-Turbo to three targets: by
night, with the caption of the other direction (the encoder is the same then), and by the reverse model. Where `--model`
names a Stable Diffusion model, three edits of pix2pix-zero follow, which share one inversion. Every job is a command of
its own, as a user starts it: start-up and summaries are in the figures. Prints them and their ratios, checks that the
bytes are the same, and writes benchmarks/results/targets_cpu.json.
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
from typing import Any

RESULTS = Path(__file__).parent / "results" / "targets_cpu.json"
TURBO: dict[str, Any] = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
TURBO_TARGETS: dict[str, Any] = {
    "night": {},
    "dusk": {"method": {"params": {"caption": "driving in the day"}}},
    "reverse": {"method": {"preset": "street_night_to_day"}},
}
EDIT_TARGETS: dict[str, Any] = {
    "night": {"method": {"params": {"target": "night"}}},
    "fog": {"method": {"params": {"target": "fog"}}},
    "snow": {"method": {"params": {"target": "snow"}}},
}


def cpu_seconds(words: list[str]) -> float:
    """CPU seconds of a command of sceneshift and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "jobs", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path, tree: dict[str, Any], targets: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds of the targets in one job, and as jobs of their own, whose bytes must be the same."""
    folder.mkdir()
    together = folder / "together.yaml"
    together.write_text(json.dumps(tree | {"output": {"uri": str(folder / "together")}, "targets": targets}))
    seconds = cpu_seconds(["run", str(together), "--local"])
    apart = []
    for name, target in targets.items():
        # a job with this one target alone shares nothing
        alone = folder / f"{name}.yaml"
        alone.write_text(json.dumps(tree | {"output": {"uri": str(folder / "apart")}, "targets": {name: target}}))
        apart.append(cpu_seconds(["run", str(alone), "--local"]))
        for part in ("data", "index"):
            for file in (folder / "apart" / name / part).iterdir():
                same = (folder / "together" / name / part / file.name).read_bytes() == file.read_bytes()
                assert same, f"{name}/{part}/{file.name} differs"
    return {"together": round(seconds, 2), "apart": [round(each, 2) for each in apart], "ratio": seconds / sum(apart)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", help="a Stable Diffusion model, for pix2pix-zero")
    parser.add_argument("--edited", type=int, default=4, help="pictures that pix2pix-zero edits")
    parser.add_argument("--steps", type=int, default=20, help="steps of pix2pix-zero")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, Any] = {"scenes": options.scenes, "size": options.size}
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        words = ["sample-data", str(folder / "streets"), "--scenes", str(options.scenes), "--size", str(options.size)]
        cpu_seconds([*words, "--conditions", "day"])
        source = {"uri": f"{folder}/streets/day/*.tar"}
        found["cyclegan_turbo"] = measure(folder / "turbo", {"source": source, "method": TURBO}, TURBO_TARGETS)
        if options.model:
            params = {"source": "day", "target": "night", "steps": options.steps, "image_prep": "no_resize"}
            method = {"name": "pix2pix_zero", "weights": options.model, "params": params}
            limited = source | {"limit": options.edited}
            found["pix2pix_zero"] = measure(folder / "zero", {"source": limited, "method": method}, EDIT_TARGETS)
            found["pix2pix_zero"] |= {"pictures": options.edited, "steps": options.steps}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
