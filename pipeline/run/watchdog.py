"""Ending a job in which nothing is finished any more, and saying what hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.logs.context import in_context
from pipeline.plan import FilePlan
from pipeline.run.companion import Event
from pipeline.run.executors import Executor
from pipeline.uris import redact

_LOOK_EVERY = 1.0
STARTING = 1800.0
"""Seconds that workers may take to begin anything: loading weights, or waiting for a machine of an autoscaling pool."""


def watched(
    executor: Executor, files: Sequence[FilePlan], stall_timeout: float, check: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """The executor's events, ended with JobFailed when nothing comes for ``stall_timeout`` seconds.

    The time runs from when a worker has begun something. ``check`` is called about once per second and may raise.
    """
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
    clock = _StallClock(executor, stall_timeout)
    try:
        while True:
            try:
                event = events.get(timeout=min(_LOOK_EVERY, stall_timeout))
            except queue.Empty:
                check()
                executor.check_alive()
                clock.look()
                continue
            clock.restart()
            if event is ended:
                return
            if isinstance(event, (InputError, JobFailed)):
                raise event
            if isinstance(event, BaseException):
                executor.check_alive()
                raise JobFailed(redact(f"{type(event).__name__}: {first_line(event, 400)}")) from event
            yield event
    finally:
        stop.set()


class _StallClock:
    """How long nothing was finished; while no worker has begun anything it stands still, up to a bound of its own."""

    def __init__(self, executor: Executor, stall_timeout: float) -> None:
        self._executor, self._timeout = executor, stall_timeout
        self._since = time.monotonic()
        self._begun = False

    def restart(self) -> None:
        """Something was finished."""
        self._since, self._begun = time.monotonic(), True

    def look(self) -> None:
        """Raise JobFailed when it took too long."""
        if not self._begun and self._executor.hanging():
            self.restart()
        waited = time.monotonic() - self._since
        limit = self._timeout if self._begun else max(self._timeout, STARTING)
        if waited > limit:
            raise JobFailed(_stall_message(self._executor, waited))


def _stall_message(executor: Executor, seconds: float) -> str:
    rows = executor.hanging()
    if rows:
        worker, shard, what, age = rows[0]
        where = f"worker {worker} has been at shard {shard} ({what}) for {age:.0f} s"
    else:
        where = "no worker has begun anything (does the cluster have room for one?)"
    return (
        f"nothing was finished for {seconds:.0f} s: {where}. The job was stopped; what is committed stays, and running "
        "it again goes on. A slow method needs a larger compute.stall_timeout"
    )
