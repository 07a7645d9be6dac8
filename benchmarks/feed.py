"""What the processor does for one picture around the device: CPU milliseconds per step, at three sizes.

    python benchmarks/feed.py [--before FOLDER] [--out FILE]

Each step is called alone, on one thread, in turn with the others; the least of several rounds counts, in CPU time, so
that other work on the machine disturbs little. ``--before`` names another checkout of this repository: its steps are
measured in the same run, in a process of its own, and stand beside.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"256": (256, 256), "512": (512, 512), "720p": (720, 1280)}
METRICS = ("psnr", "ssim", "structure")
ROUNDS = 9


def steps(height: int, width: int) -> dict[str, Callable[[], object]]:
    """Name of a step -> a call of it on one picture; the checkout in front of the path is the one that is measured."""
    import numpy as np
    import torch

    from jobs.streets import Frame, Scene
    from methods.nn.image_prep import prepare_image, to_tensor
    from pipeline import codec
    from pipeline.metrics.psnr import psnr
    from pipeline.metrics.ssim import ssim
    from pipeline.metrics.structure import structure_distance
    from pipeline.translate.pixels import pixels_of

    # Asked of the files: an editable installation would find the modules of its own checkout. Earlier ones resized by
    # torch only on the way back, or not at all.
    resample, prepare, root = codec.resize, prepare_image, Path(codec.__file__).parent.parent
    if (root / "methods" / "nn" / "resample.py").exists():
        from methods.nn.resample import resample

        prepare = partial(prepare_image, lanczos="fast")
    elif (root / "pipeline" / "resample.py").exists():
        resample = importlib.import_module("pipeline.resample").resample
    torch.set_num_threads(1)
    day = Frame(Scene(1), width, height).render("day")
    rng = np.random.default_rng(0)
    grainy = np.clip(day + rng.normal(0, 4, day.shape), 0, 255).astype(np.uint8)
    night = (grainy * 0.4).astype(np.uint8)
    data = codec.encode(grainy, "jpeg", 95)
    side = (512, 512 * height // width // 8 * 8)
    small = codec.resize(grainy, side)
    tensor = to_tensor(small)[None].contiguous()
    return {
        "decode JPEG": lambda: codec.decode(data),
        f"the method's resize to {side[0]} wide": lambda: prepare(grainy, f"resize_{side[0]}x{side[1]}"),
        "tensor of pixels": lambda: to_tensor(small),
        "pixels of a tensor": lambda: pixels_of(tensor),
        "resize back": lambda: resample(small, (width, height)),
        "psnr": lambda: psnr(grainy, night),
        "ssim": lambda: ssim(grainy, night),
        "structure": lambda: structure_distance(grainy, night),
        "encode JPEG": lambda: codec.encode(night, "jpeg", 95),
    }


def measure() -> dict[str, dict[str, float]]:
    """Size -> step -> CPU milliseconds."""
    found: dict[str, dict[str, float]] = {}
    for name, (height, width) in SIZES.items():
        calls = steps(height, width)
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(ROUNDS):
            for step, call in calls.items():
                begun = time.process_time()
                call()
                best[step] = min(best[step], (time.process_time() - begun) * 1000)
        found[name] = best
    return found


def measured_in(checkout: Path) -> dict[str, dict[str, float]]:
    """The figures of a checkout, from a fresh process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(Path(__file__).resolve()), "--json"]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def table(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]] | None) -> str:
    """One Markdown table per size."""
    lines: list[str] = []
    for size, found in now.items():
        lines += [f"### {size}", "", "| step | before, ms | now, ms | ratio |" if before else "| step | ms |"]
        lines.append("| --- | ---: | ---: | ---: |" if before else "| --- | ---: |")
        around = {step: ms for step, ms in found.items() if step not in METRICS}
        rows = {**found, "all": sum(found.values()), "all but metrics": sum(around.values())}
        for step, ms in rows.items():
            if before is None:
                lines.append(f"| {step} | {ms:.2f} |")
            else:
                all_before = {"all": before[size], "all but metrics": {name: before[size][name] for name in around}}
                was = sum(all_before[step].values()) if step in all_before else before[size][step]
                lines.append(f"| {step} | {was:.2f} | {ms:.2f} | {ms / was:.2f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, measured beside")
    parser.add_argument("--out", type=Path, help="also write the tables here")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.json:
        # In front stands this file's folder, whose names are not those of the packages.
        sys.path[:1] = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path]
        print(json.dumps(measure()))
        return
    before = measured_in(arguments.before.resolve()) if arguments.before else None
    text = table(measured_in(ROOT), before)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
