"""The log files of a run: `_sceneshift/logs/{run}/{worker}.log`, one per process, put whole and atomically."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from methods.errors import InputError, first_line
from pipeline.logs.context import context
from pipeline.logs.handler import BoundedLog
from pipeline.logs.lines import LogFormat
from pipeline.paths import LOGS
from pipeline.storage import Store, redact

DRIVER = "driver"
"""Name of the log file of the process that drives the run."""

ROOT = logging.getLogger("sceneshift")
_log = logging.getLogger(f"sceneshift.{__name__}")
_open: dict[tuple[str, str, str], WorkerLog] = {}
_opening = threading.Lock()


def new_run() -> str:
    """A name for a run that begins now; names sort by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{time.time_ns() % 1_000_000:06d}"


@dataclass(frozen=True)
class LogOptions:
    """How much a run logs, and how: ``level`` as in the logging module, lines as text or JSON."""

    level: int = logging.INFO
    format: LogFormat = "text"


DEFAULT_LOGS = LogOptions()


@dataclass(frozen=True)
class RunLogs:
    """Where the processes of a run log to. Small and picklable: workers get it.

    Attributes:
        target: of which of several targets this is the log; lines about others are left out.
        beside: the logs of the others, recorded at the same time.
    """

    store: Store
    run: str
    job: str
    options: LogOptions = field(default_factory=LogOptions)
    target: str = ""
    beside: tuple[RunLogs, ...] = ()

    @property
    def folder(self) -> str:
        """Of this run's files, within the output."""
        return f"{LOGS}/{self.run}"

    @property
    def uri(self) -> str:
        """The folder for a person."""
        return redact(self.store.uri(self.folder))

    @contextlib.contextmanager
    def recording(self, worker: str | None = None) -> Iterator[WorkerLog]:
        """Inside, this process logs to its file; the file is put at the end.

        May be entered by several threads and again and again: a process has one file per run.

        Args:
            worker: name of the file; else host and process id.
        """
        name = worker or f"{socket.gethostname()}-{os.getpid()}"
        name = re.sub(r"[^\w.-]", "_", name)
        key = (self.store.root, self.run, name)
        with _opening:
            log = _open.get(key)
            if log is None:
                # A process that goes on to another run has no more to add to the files of the one before.
                for other in [each for each, held in _open.items() if not held.users]:
                    del _open[other]
                log = _open[key] = WorkerLog(self, name)
            log.enter()
        try:
            with contextlib.ExitStack() as others:
                log.beside = [others.enter_context(each.recording(worker)) for each in self.beside]
                yield log
        finally:
            with _opening:
                log.leave()
            log.put()


class WorkerLog:
    """One process's log file of one run; made by :meth:`RunLogs.recording`."""

    def __init__(self, logs: RunLogs, name: str) -> None:
        self.logs, self.name, self.users = logs, name, 0
        self.path = f"{logs.folder}/{name}.log"
        self.kept = True
        self.beside: list[WorkerLog] = []
        self._handler = BoundedLog(
            logs.options.level,
            logs.options.format,
            {"job": logs.job, "run": logs.run, "worker": name},
            mine=lambda record: context().get("target", logs.target) == logs.target,
        )
        self._put, self._put_at = 0, float("-inf")
        self._putting = threading.Lock()
        self._level_before = logging.NOTSET

    def enter(self) -> None:
        """Begin to record, on the first of several calls."""
        self.users += 1
        if self.users == 1:
            # On the root logger: what a method's own logger says belongs into the file too.
            logging.getLogger().addHandler(self._handler)
            self._level_before = ROOT.level
            # what libraries warn of is for the log, not for the user's terminal
            logging.captureWarnings(True)
            ROOT.setLevel(min(self.logs.options.level, ROOT.getEffectiveLevel()))

    def leave(self) -> None:
        """End recording, on the last of as many calls."""
        self.users -= 1
        if not self.users:
            logging.getLogger().removeHandler(self._handler)
            ROOT.setLevel(self._level_before)
            logging.captureWarnings(False)

    def discard(self) -> None:
        """Put nothing more, nor beside it: the output was cleared."""
        self.kept = False
        for each in self.beside:
            each.discard()

    def put(self, every: float = 0.0) -> None:
        """Put the file, if there is anything new. A log that cannot be put is said, and fails nothing.

        Args:
            every: seconds that must have gone since it was last put.
        """
        with self._putting:
            number = self._handler.number
            if number == self._put or not self.kept or time.monotonic() - self._put_at < every:
                return
            self._put_at = time.monotonic()
            try:
                self.logs.store.put(self.path, self._handler.text().encode("utf-8", "backslashreplace"))
            except (InputError, OSError) as error:
                _log.debug("%s could not be put: %s", self.path, first_line(error))
                return
            self._put = number
