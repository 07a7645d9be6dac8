"""Processes of this machine that work for this one, and end with it however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")
_SETTING = threading.Lock()


class Child:
    """A process that runs ``target(connection, *arguments)``, and this side's end of its connection.

    It is started anew, not forked: a copy of a process with threads or a GPU does not work. Ctrl-C in a terminal goes
    to every process of it; a child leaves it to this one, which ends its children.
    """

    def __init__(
        self, target: Callable[..., None], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        """``environment`` is set in the child before it imports anything."""
        self.connection, theirs = _SPAWN.Pipe()
        lifeline, self._held = _SPAWN.Pipe(duplex=False)
        self.process: SpawnProcess = _SPAWN.Process(
            target=_run, args=(target, theirs, lifeline, arguments), daemon=True
        )
        with _set(environment or {}):
            self.process.start()
        theirs.close()
        lifeline.close()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self.process.kill()
        self.process.join()

    @property
    def ended_by(self) -> str:
        """How it ended, for a person; waits for the end."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _run(target: Callable[..., None], connection: Connection, lifeline: Connection, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    target(connection, *arguments)


def _end_with_parent(lifeline: Connection) -> None:
    """Nothing is ever sent: the other end is closed when the parent is gone, by kill -9 too."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


@contextlib.contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    with _SETTING:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
