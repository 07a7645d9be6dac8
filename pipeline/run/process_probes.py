"""Probes as processes of this machine."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from methods.errors import first_line
from pipeline.errors import JobFailed
from pipeline.job import Job
from pipeline.run.children import Child
from pipeline.run.probe import Ending, Probe


class ProcessProbes:
    """``start`` makes a child of a target and its arguments, on a device that is free."""

    def __init__(self, job: Job, most: int, start: Callable[..., Child]) -> None:
        self.job, self.most = job, most
        self._start = start
        self._children: list[Child] = []

    def begin(self) -> Child:
        """A fresh process."""
        child = self._start(_probe, self.job)
        self._children.append(child)
        return child

    def call(self, handle: Child, name: Literal["hold", "try_one"], argument: Any) -> None:
        """As of Probes."""
        try:
            handle.connection.send((name, argument))
        except OSError:
            # It has ended: ``wait`` finds the end of the connection.
            return

    def wait(self, seconds: float) -> list[tuple[Child, int | Ending | None]]:
        """As of Probes."""
        found: list[tuple[Child, int | Ending | None]] = []
        for connection in wait([child.connection for child in self._children], timeout=seconds):
            child = next(each for each in self._children if each.connection is connection)
            try:
                answer = child.connection.recv()
            except (EOFError, OSError):
                self._children.remove(child)
                found.append((child, "died"))
                continue
            if isinstance(answer, str):
                raise JobFailed(f"while the samples of a shard were tried one by one: {answer}")
            found.append((child, answer))
        return found

    def end(self, handle: Child) -> None:
        """As of Probes."""
        if handle in self._children:
            self._children.remove(handle)
        handle.kill()


def _probe(connection: Connection, job: Job) -> None:
    probe = Probe(job)
    while True:
        try:
            name, argument = connection.recv()
        except EOFError:
            return
        try:
            answer = getattr(probe, name)(argument)
        except Exception as error:
            answer = first_line(error, 400)
        connection.send(answer)
