"""Ending a job in which nothing is finished any more, and saying what hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.logs.context import in_context
from pipeline.plan import FilePlan
from pipeline.records import Receipt
from pipeline.run.executors import Executor
from pipeline.run.steps import Failure


def watched(executor: Executor, files: Sequence[FilePlan], stall_timeout: float) -> Iterator[Receipt | Failure]:
    """The executor's events, ended with JobFailed when nothing comes for ``stall_timeout`` seconds."""
    events: queue.Queue[Any] = queue.Queue()
    stop = threading.Event()
    ended = object()

    def consume() -> None:
        try:
            work = executor.work(files)
            for event in work:
                events.put(event)
                if stop.is_set():
                    break
            if hasattr(work, "close"):
                work.close()  # type: ignore[union-attr]
            events.put(ended)
        except BaseException as error:
            events.put(error)

    threading.Thread(target=in_context(consume), name="graph", daemon=True).start()
    try:
        while True:
            try:
                event = events.get(timeout=stall_timeout)
            except queue.Empty:
                raise JobFailed(_stall_message(executor, stall_timeout)) from None
            if event is ended:
                return
            if isinstance(event, (InputError, JobFailed)):
                raise event
            if isinstance(event, BaseException):
                raise JobFailed(f"{type(event).__name__}: {first_line(event, 400)}") from event
            yield event
    finally:
        stop.set()


def _stall_message(executor: Executor, seconds: float) -> str:
    rows = executor.hanging()
    if rows:
        worker, shard, what, age = rows[0]
        where = f"worker {worker} has been at shard {shard} ({what}) for {age:.0f} s"
    else:
        where = "no worker has begun anything (does the cluster have room for one?)"
    return (
        f"nothing was finished for {seconds:g} s: {where}. The job was stopped; what is committed stays, and running "
        "it again goes on. A slow method needs a larger compute.stall_timeout"
    )
