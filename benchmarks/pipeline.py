"""How fast the pipeline is against a plain loop, how it scales, what memory it takes, how long it takes to start.

    python benchmarks/pipeline.py [--quick] [--only NAME ...] [--out FILE]

Every pipeline run is the command line in a fresh process with a Ray cluster of its own. The rate is that of the steady
state: from the first shard begun to the last one committed, as the run log has it. The plain loop runs just before and
just after each, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "plugin"
# In front stood this folder, whose pipeline.py is not the package of that name.
sys.path[:1] = [str(ROOT), str(PLUGIN)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from benchmarks import process_tree  # noqa: E402
from benchmarks.plain_loop import plain_loop, write  # noqa: E402
from pipeline import codec  # noqa: E402

SHARD = 64
SLEEP_BATCH = 8
SLEEPS = (0.05, 0.1)
"""Seconds per batch of the sleeping method: 160 images/s, and 80, about what CycleGAN-Turbo is to do on a GPU."""
SCENES = 32


@dataclass(frozen=True)
class Sizes:
    """How many images each case takes."""

    null: int = 4096
    sleeping: int = 6144
    mini: int = 768
    memory: tuple[int, int] = (500, 4000)


QUICK = Sizes(null=768, sleeping=512, mini=192, memory=(256, 1024))


@dataclass(frozen=True)
class Case:
    """One row of the table: a method on so many pictures of one size."""

    name: str
    method: dict[str, Any]
    images: int
    side: int
    metrics: tuple[str, ...] = ()
    workers: int = 1


@dataclass(frozen=True)
class Measured:
    """What a run of the pipeline showed.

    Attributes:
        rate: images/s from the first shard begun to the last committed.
        busy: share of that time in which the method was at work, summed over workers.
        first_begun, first_commit, total: seconds from the command to the first shard begun and committed, and in all.
        peak_bytes: PSS of the whole process tree.
    """

    rate: float
    steady: float
    busy: float
    first_begun: float
    first_commit: float
    total: float
    peak_bytes: int


@dataclass
class Table:
    """Rows of (what, figures, verdict) for the terminal and the results file."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def markdown(self) -> str:
        """A table of GitHub's kind, padded so that it reads well as plain text too."""
        widths = [max(len(row[n]) for row in [self.columns, *self.rows]) for n in range(len(self.columns))]

        def line(row: tuple[str, ...]) -> str:
            return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

        return "\n".join([line(self.columns), line(tuple("-" * width for width in widths)), *map(line, self.rows)])


class Bench:
    """Datasets, runs and what they gave."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder, self.sizes = folder, sizes
        self.number = 0
        self.speed = Table(("case", "images", "workers", "plain loop", "pipeline", "ratio", "target", "method busy"))
        self.start = Table(("case", "first shard begun", "first shard committed", "whole run"))
        self.memory = Table(("images", "peak memory", "against the first", "target"))

    def tars(self, images: int, side: int) -> list[Path]:
        """A WebDataset of so many rendered street scenes, each of ``SCENES`` under many keys."""
        folder = self.folder / f"source-{side}-{images}"
        if not folder.exists():
            folder.mkdir()
            pictures = self._scenes(side)
            for first in range(0, images, 256):
                keys = [f"s{number:06d}" for number in range(first, min(first + 256, images))]
                write(folder / f"{first:06d}.tar", [(key, pictures[int(key[1:]) % SCENES]) for key in keys])
        return sorted(folder.glob("*.tar"))

    def _scenes(self, side: int) -> list[bytes]:
        from jobs.streets import Frame, Scene

        cache = self.folder / f"scenes-{side}.npy"
        if not cache.exists():
            frames = [Frame(Scene(seed), side, side).render("day") for seed in range(SCENES)]
            np.save(cache, np.stack(frames))
        return [codec.encode(picture, "jpeg", 95) for picture in np.load(cache)]

    def run(self, case: Case, *, memory: bool = False) -> Measured:
        """The pipeline on a case: ``sceneshift run``, in a process of its own."""
        self.number += 1
        out = self.folder / f"out-{self.number}"
        tars = self.tars(case.images, case.side)
        spec = {
            "name": case.name,
            "source": {"uri": str(tars[0].parent)},
            "method": case.method,
            "output": {"uri": str(out), "format": "webdataset", "shard_size": SHARD},
            "metrics": list(case.metrics),
            "compute": {"workers": case.workers, "batch_size": batch_size(case)},
        }
        path = self.folder / f"job-{self.number}.yaml"
        path.write_text(yaml.safe_dump(spec))
        program = str(Path(sys.executable).with_name("sceneshift"))
        done = process_tree.run([program, "run", "--json", str(path)], environment(), memory=memory)
        said = json.loads(done.output)
        if said["this_run"]["ok"] != case.images:
            raise RuntimeError(f"{case.name}: {said['this_run']} of {case.images} images")
        measured = measure(out, done)
        shutil.rmtree(out)
        self.start.rows.append(
            (
                f"{case.name}, {case.images} images",
                *(f"{seconds:.1f} s" for seconds in (measured.first_begun, measured.first_commit, measured.total)),
            )
        )
        return measured

    def loop(self, case: Case) -> float:
        """The plain loop on a case, images/s; the method is loaded and warm before the clock starts."""
        import torch

        import methods
        from pipeline import metrics

        torch.set_num_threads(1)
        named = dict(case.method)
        method = methods.load(named["name"], named.get("preset"), **named.get("params", {}))
        built = metrics.build(case.metrics, device="cpu")
        tars = self.tars(case.images, case.side)
        self.number += 1
        out = self.folder / f"loop-{self.number}"
        warm = self.tars(2 * batch_size(case), case.side)
        plain_loop(warm, out / "warm", method, built, batch_size(case), SHARD)
        rate = plain_loop(tars, out / "out", method, built, batch_size(case), SHARD)
        shutil.rmtree(out)
        return rate

    def against_loop(self, case: Case, target: float | None) -> Measured:
        """Loop, pipeline, loop."""
        say(f"{case.name}: plain loop")
        before = self.loop(case)
        say(f"{case.name}: pipeline")
        measured = self.run(case)
        say(f"{case.name}: plain loop again")
        # The mean time, not the mean rate: what one image costs.
        plain = 2 / (1 / before + 1 / self.loop(case))
        self._row(case, f"{plain:.1f}/s", measured, measured.rate / plain, target)
        return measured

    def against_ideal(self, case: Case, ideal: float, target: float | None) -> Measured:
        """The pipeline against a device that never waits."""
        say(f"{case.name}: pipeline")
        measured = self.run(case)
        self._row(case, f"{ideal:.1f}/s (ideal)", measured, measured.rate / ideal, target)
        return measured

    def against_one(self, case: Case, one: Measured, target: float) -> None:
        """More workers against one."""
        say(f"{case.name}: pipeline")
        measured = self.run(case)
        self._row(case, f"{one.rate:.1f}/s (one worker)", measured, measured.rate / one.rate, target)

    def _row(self, case: Case, other: str, measured: Measured, ratio: float, target: float | None) -> None:
        self.speed.rows.append(
            (
                case.name,
                str(case.images),
                str(case.workers),
                other,
                f"{measured.rate:.1f}/s",
                f"{ratio:.3f}",
                verdict(ratio >= target, f">= {target}") if target else "-",
                f"{measured.busy:.0%}",
            )
        )

    def peak_memory(self) -> None:
        """The same job on few and on many images."""
        peaks: list[int] = []
        for images in self.sizes.memory:
            say(f"memory: {images} images")
            peaks.append(self.run(Case("null, memory watched", {"name": "null"}, images, 256), memory=True).peak_bytes)
            share = peaks[-1] / peaks[0]
            target = verdict(abs(share - 1) <= 0.15, "within 15 %") if len(peaks) > 1 else "-"
            self.memory.rows.append((str(images), f"{peaks[-1] / 2**20:.0f} MiB", f"{share:.2f}", target))


def batch_size(case: Case) -> int:
    """Images per call: the sleeping method's own, else what methods take on a CPU."""
    return SLEEP_BATCH if case.method["name"] == "sleeper" else 4


def verdict(good: bool, target: str) -> str:
    """The target, and whether it is met."""
    return f"{target}: {'met' if good else 'MISSED'}"


def environment() -> dict[str, str]:
    """That of a user who has installed the test methods."""
    path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}


def measure(out: Path, done: process_tree.Finished) -> Measured:
    """Read the run log of a fresh output."""
    from pipeline.runlog import read_runs
    from pipeline.storage import Store

    rows = read_runs(Store(str(out))).to_pylist()
    begun, ended = min(row["started"] for row in rows), max(row["committed"] for row in rows)
    return Measured(
        rate=sum(row["ok"] for row in rows) / (ended - begun),
        steady=ended - begun,
        busy=sum(row["device_seconds"] for row in rows) / (ended - begun),
        first_begun=begun - done.began,
        first_commit=min(row["committed"] for row in rows) - done.began,
        total=done.seconds,
        peak_bytes=done.peak_bytes,
    )


def say(text: str) -> None:
    """Progress, for the one who waits."""
    print(f"  {text} ...", file=sys.stderr, flush=True)


MINI = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}


def null(bench: Bench) -> None:
    """A method that does nothing: what the pipeline itself costs."""
    bench.against_loop(Case("null, 256 px", {"name": "null"}, bench.sizes.null, 256), None)


def sleeping(bench: Bench) -> None:
    """A method that leaves the CPU alone, as one on a GPU does: whether the device ever waits."""
    for seconds in SLEEPS:
        method = {"name": "sleeper", "params": {"seconds": seconds}}
        images = round(bench.sizes.sleeping * SLEEPS[0] / seconds)
        case = Case(f"sleeping {seconds * 1000:.0f} ms for {SLEEP_BATCH}, 256 px", method, images, 256)
        bench.against_ideal(case, SLEEP_BATCH / seconds, 0.97 if seconds == SLEEPS[-1] else None)


def mini(bench: Bench) -> None:
    """The bundled model on the CPU, on one worker and on two."""
    one = bench.against_loop(Case("mini model, 128 px", MINI, bench.sizes.mini, 128), 0.9)
    bench.against_one(Case("mini model, 128 px", MINI, 2 * bench.sizes.mini, 128, workers=2), one, 1.6)


def measuring(bench: Bench) -> None:
    """The mini model with the metrics that a job has by default."""
    metrics = ("psnr", "ssim", "structure")
    bench.against_loop(Case("mini model + 3 metrics, 128 px", MINI, bench.sizes.mini, 128, metrics), None)


def memory(bench: Bench) -> None:
    """Whether memory grows with the dataset."""
    bench.peak_memory()


CASES: dict[str, Callable[[Bench], None]] = {each.__name__: each for each in (null, sleeping, mini, measuring, memory)}


def machine() -> str:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} cores ({model}), {memory_bytes / 2**30:.0f} GiB, Python {platform.python_version()}"


def main() -> None:
    """Run the cases, print the tables, write them down."""
    parser = argparse.ArgumentParser(description="Figures of the pipeline.")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images; for trying out")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--out", type=Path, help="results file; benchmarks/results/pipeline.md for a full run")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(Path(folder), QUICK if arguments.quick else Sizes())
        for name in arguments.only:
            CASES[name](bench)
    tables = [
        ("Speed in the steady state, images/s", bench.speed),
        ("From the command to the first shard", bench.start),
        ("Peak memory of all processes (PSS)", bench.memory),
    ]
    text = "\n\n".join(f"## {title}\n\n{table.markdown()}" for title, table in tables if table.rows)
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    loads = f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after"
    sizes = "quick run" if arguments.quick else "full run"
    text = f"# Pipeline benchmark\n\n{when}, {machine()}, {loads}, {sizes}.\n\n{text}\n"
    print(text)
    out = arguments.out
    if out is None and not arguments.quick and len(arguments.only) == len(CASES):
        out = ROOT / "benchmarks" / "results" / "pipeline.md"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)


if __name__ == "__main__":
    main()
