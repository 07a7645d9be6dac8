"""`sceneshift sample-data`."""

from __future__ import annotations

import re

from jobs.console import DONE, Console
from jobs.progress import counting
from methods.errors import InputError


def sample_data_command(
    console: Console,
    out: str,
    scenes: int,
    size: str,
    conditions: str,
    seed: int,
    format: str,
    truth: str | None,
    lossless: bool = False,
) -> int:
    """Render street scenes on all cores."""
    from jobs.streets.dataset import write_dataset

    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if match is None:
        raise InputError(f"--size {size}: write pixels a side (256) or WIDTHxHEIGHT (320x192)")
    pixels = (int(match[1]), int(match[2] or match[1]))
    names = [name.strip() for name in conditions.split(",") if name.strip()]
    with counting("scenes", console.quiet) as show:
        summary = write_dataset(
            out,
            scenes,
            pixels,
            names,
            seed,
            format,
            paired_with=truth,
            lossless=lossless,
            progress=lambda done: show(done, scenes),
        )
    console.result({"out": out, "scenes": scenes, "conditions": names, "format": format, "summary": str(summary)})
    console.say(f"Rendered {scenes} scenes in {', '.join(names)} to {out}")
    return DONE
