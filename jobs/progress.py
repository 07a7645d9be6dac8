"""Progress of a run: a live line on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.run.progress import Progress

EVERY_SECONDS = 10.0


@contextlib.contextmanager
def progress_view(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield the function that shows running totals; nothing is shown when ``quiet``."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _live() as show:
            yield show
    else:
        with _lines() as show:
            yield show


@contextlib.contextmanager
def counting(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, in all): a bar on a terminal, a plain line every ten seconds elsewhere."""
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn(what))
        with Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        last = [time.monotonic()]

        def show(done: int, total: int) -> None:
            if time.monotonic() - last[0] >= EVERY_SECONDS:
                last[0] = time.monotonic()
                print(f"sceneshift: {done}/{total} {what}", file=sys.stderr, flush=True)

        yield show


def describe(progress: Progress) -> str:
    """Counts, rate, rejects and time left in one line."""
    about = "" if progress.exact else "~"
    shards = f"{progress.shards}/{about}{max(progress.shards, progress.shards_total)}"
    samples = f"{progress.attempted}/{about}{max(progress.attempted, progress.samples_total)}"
    left = progress.eta_seconds
    return (
        f"{samples} images, {progress.images_per_second:.1f} images/s, {shards} shards, "
        f"{progress.rejected} rejected" + (f", {_duration(left)} left" if left is not None else "")
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def _lines() -> Iterator[Callable[[Progress], None]]:
    latest: list[Progress] = []
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(EVERY_SECONDS):
            line = describe(latest[0]) if latest else "starting workers"
            print(f"sceneshift: {line}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield lambda progress: latest.__setitem__(slice(None), [progress])
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting workers", total=None)

        def show(progress: Progress) -> None:
            total = max(progress.attempted, progress.samples_total)
            bar.update(task, total=total, completed=progress.attempted, description=describe(progress))

        yield show
