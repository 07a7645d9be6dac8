"""Progress of a command: a bar on a terminal, a plain line every ten seconds elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.quantity import duration, size

if TYPE_CHECKING:
    from methods.train.loop import TrainingProgress
    from pipeline.run.progress import Progress as RunProgress

EVERY_SECONDS = 10.0
P = TypeVar("P")


@dataclass(frozen=True)
class Shown:
    """What a person sees of some progress: how much of how much, and one line about it."""

    done: int
    total: int
    text: str


@contextlib.contextmanager
def progress_view(quiet: bool, look: Callable[[P], Shown], waiting: str) -> Iterator[Callable[[P], None]]:
    """Yield the function that takes progress and shows it.

    Args:
        quiet: show nothing.
        look: what a person sees of it.
        waiting: what is said before there is any.
    """
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _bar(waiting) as show:
            yield lambda progress: show(look(progress))
    else:
        with _lines(waiting) as show:
            yield lambda progress: show(look(progress))


@contextlib.contextmanager
def counting(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, in all) that shows how many of ``what`` are done."""

    def look(count: tuple[int, int]) -> Shown:
        return Shown(*count, f"{count[0]}/{count[1]} {what}")

    with progress_view(quiet, look, f"0 {what}") as show:
        yield lambda done, total: show((done, total))


def run_shown(progress: RunProgress) -> Shown:
    """Progress of a run: images, rate, shards, rejections and time left."""
    about = "" if progress.exact else "~"
    total = max(progress.attempted, progress.samples_total)
    shards = f"{progress.shards}/{about}{max(progress.shards, progress.shards_total)}"
    left = progress.eta_seconds
    text = (
        f"{progress.attempted}/{about}{total} images, {progress.images_per_second:.1f} images/s, {shards} shards, "
        f"{progress.rejected} rejected" + (f", {duration(left)} left" if left is not None else "")
    )
    return Shown(progress.attempted, total, text)


def training_shown(progress: TrainingProgress) -> Shown:
    """Progress of a training: steps, losses, learning rate, pace, memory of the device and time left."""
    pace = progress.steps_per_second
    parts = [
        f"step {progress.step}/{progress.steps}",
        losses(progress),
        f"rate {progress.rate:.3g}",
        f"{progress.images_per_second:.3g} images/s",
    ]
    if progress.memory is not None:
        parts.append(size(progress.memory))
    if pace > 0:
        parts.append(f"{duration((progress.steps - progress.step) / pace)} left")
    text = ", ".join(parts)
    return Shown(progress.step, progress.steps, text)


def losses(progress: TrainingProgress) -> str:
    """The first eight losses by name."""
    shown = [(name, value) for name, value in progress.losses.items() if not name.startswith("grad_norm.")]
    return ", ".join(f"{name} {value:.4g}" for name, value in shown[:8])


@contextlib.contextmanager
def _lines(waiting: str) -> Iterator[Callable[[Shown], None]]:
    """A line every ten seconds if there is something new, and the last one at the end."""
    latest = waiting
    printed = ""
    stop = threading.Event()

    def tell() -> None:
        nonlocal printed
        while not stop.wait(EVERY_SECONDS):
            if printed == latest:
                continue
            printed = latest
            print(f"sceneshift: {printed}", file=sys.stderr, flush=True)

    def show(shown: Shown) -> None:
        nonlocal latest
        latest = shown.text

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield show
    finally:
        stop.set()
        thread.join()
        if latest not in (waiting, printed):
            print(f"sceneshift: {latest}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar(waiting: str) -> Iterator[Callable[[Shown], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(waiting, total=None)
        yield lambda shown: bar.update(task, total=shown.total, completed=shown.done, description=shown.text)
