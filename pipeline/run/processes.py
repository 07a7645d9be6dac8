"""Several processes of this machine that work through a job's files without Ray, each as a local run does."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from methods.counting import counted
from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.job import Job
from pipeline.logs.run import RunLogs
from pipeline.plan import FilePlan
from pipeline.run.activity import ENDS, Activity
from pipeline.run.children import Child
from pipeline.run.companion import Companion, Event
from pipeline.run.executors import LocalExecutor
from pipeline.run.process_probes import ProcessProbes
from pipeline.run.units import units_of

_HERE = "this machine"


class ProcessExecutor:
    """Hands files to processes one by one, whoever is free; what a process that dies leaves is made by another.

    Attributes:
        where, workers, job: as of :class:`pipeline.run.executors.Executor`.
    """

    def __init__(self, jobs: Mapping[str, Job], number: int, logs: RunLogs) -> None:
        """Start ``number`` processes.

        Args:
            jobs: those of the targets by name: the first leads, the others may be its companions.

        Raises:
            InputError: as building the method does.
            JobFailed: a process ended before it was ready.
        """
        self.where, self.workers = f"in {counted(number, 'process')} of this machine", number
        self.jobs, self.job = dict(jobs), next(iter(jobs.values()))
        self.companions: tuple[Companion, ...] = ()
        self.activity = Activity()
        self._logs = logs
        self._devices = _devices(self.job)
        self._on: dict[Child, str] = {}
        self._children: list[Child] = []
        self._names: dict[Child, str] = {}
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def work(self, files: Sequence[FilePlan]) -> Iterator[Event]:
        """All files at once, spread over the processes."""
        self._fill()
        waiting = deque(units_of(files, self.job.source_format, self.workers))
        busy = {child.connection: child for child in self._children}
        try:
            for child in self._children:
                _send(child, (self.job, self.companions))
            while busy:
                for connection in wait(list(busy), timeout=1.0):
                    child = busy[connection]  # type: ignore[index]
                    try:
                        kind, content = child.connection.recv()
                    except (EOFError, OSError):
                        del busy[child.connection]
                        self._children.remove(child)
                        continue
                    if kind == "next":
                        _send(child, waiting.popleft() if waiting else None)
                    elif kind == "done":
                        del busy[child.connection]
                    elif kind == "note":
                        self._note(child, *content)
                    else:
                        yield content
        finally:
            # Left in the middle of a round: nothing may be committed any more.
            for child in busy.values():
                child.kill()

    def _note(self, child: Child, shard: str, what: str) -> None:
        worker = self._names[child]
        if (worker, shard) not in self.activity.entries and what != ENDS:
            self.activity.begin(worker, _HERE, shard)
        self.activity.write(worker, shard, what)

    def _fill(self) -> None:
        """Start processes until there are as many as there should be, and wait until they are ready."""
        started = [self._start(_worker, self.jobs, self._logs) for _ in range(len(self._children), self.workers)]
        self._children += started
        for child in started:
            try:
                name, problem = child.connection.recv()
            except (EOFError, OSError):
                raise JobFailed(f"a worker process ended while it was starting ({child.ended_by})") from None
            if problem is not None:
                raise problem
            self._names[child] = name

    def _start(self, target: Callable[..., None], *arguments: Any) -> Child:
        """A process on the device that has the fewest."""
        if not self._devices:
            return Child(target, *arguments)
        self._on = {child: device for child, device in self._on.items() if child.process.is_alive()}
        taken = list(self._on.values())
        device = min(self._devices, key=taken.count)
        child = Child(target, *arguments, environment={"CUDA_VISIBLE_DEVICES": device})
        self._on[child] = device
        return child

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """What the processes said last."""
        return self.activity.read()

    def losses(self) -> tuple[list[tuple[str, str, str]], Mapping[str, bool]]:
        """What processes that died had in hand; the machine itself is there."""
        return self.activity.take_unended(), {_HERE: True}

    def isolate(
        self, plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], say: Callable[[str], None]
    ) -> tuple[FilePlan, ...]:
        """Walk through the suspects in processes that may die, in place of those that work."""
        from pipeline.run.isolate import find_poison

        self._end()
        return find_poison(plans, suspects, ProcessProbes(self.job, self.workers, self._start), say)

    def check_alive(self) -> None:
        """This process is alive; one of the others that died is replaced."""

    def lend(self, job: Job, companions: Sequence[Companion] = ()) -> None:
        """What is committed from now on is committed under these jobs' leases."""
        self.job, self.companions = job, tuple(companions)

    def close(self) -> None:
        """End the processes."""
        self._end()

    def _end(self) -> None:
        for child in self._children:
            child.kill()
        self._children.clear()
        self._names.clear()


def _send(child: Child, message: object) -> None:
    try:
        child.connection.send(message)
    except OSError:
        # It has ended: the end of its connection is found where its messages are received.
        return


def _devices(job: Job) -> list[str]:
    """The GPUs that processes share out among themselves; none for a job on CPUs."""
    if not job.device.startswith("cuda"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each.strip() for each in visible.split(",") if each.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


class _Passed(Activity):
    """A worker's end of the activity record: passes every note on."""

    def __init__(self, say: Callable[[str, object], None]) -> None:
        super().__init__()
        self._say = say

    def write(self, worker: str, shard: str, what: str) -> None:
        """As of Activity."""
        self._say("note", (shard, what))


def _worker(connection: Connection, jobs: Mapping[str, Job], logs: RunLogs) -> None:
    """Rounds of work: the jobs, as they may write now, begin each; files are asked for one by one."""
    from methods.weights import go_offline

    sending = threading.Lock()

    def say(kind: str, content: object = None) -> None:
        with sending:
            connection.send((kind, content))

    with logs.recording() as log:
        try:
            go_offline([uri for each in jobs.values() for uri in each.weights_by_uri])
            executor = LocalExecutor(jobs)
        except (InputError, JobFailed) as error:
            connection.send(("", error))
            return
        except Exception as error:
            connection.send(("", JobFailed(f"a worker process could not start: {first_line(error, 300)}")))
            raise
        executor.activity = _Passed(say)
        connection.send((executor.translators.lead.worker, None))

        def following() -> FilePlan | None:
            say("next")
            return connection.recv()

        while True:
            try:
                executor.lend(*connection.recv())
            except EOFError:
                return
            for event in executor.work(iter(following, None)):
                say("event", event)
                log.put(every=1.0)
            log.put()
            say("done")
