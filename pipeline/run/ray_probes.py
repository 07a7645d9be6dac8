"""Probes as Ray actors that are not started again."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.job import Job
from pipeline.run.probe import Ending, Probe


class _Actor(Probe):
    def node(self) -> str:
        """The node that the process is on."""
        import ray

        return ray.get_runtime_context().get_node_id()


class RayProbes:
    """Each asks for what a worker of the job asks for."""

    def __init__(self, job: Job, most: int) -> None:
        self.job, self.most = job, max(1, most)
        self._calls: dict[Any, Any] = {}
        self._asked: dict[Any, Any] = {}
        self._nodes: dict[Any, str] = {}

    def begin(self) -> Any:
        """A fresh actor; where it is, is asked before anything else."""
        import ray

        compute = self.job.spec.compute
        expendable: Any = ray.remote(max_restarts=0, num_cpus=compute.cpus, num_gpus=compute.gpus)(_Actor)
        actor = expendable.remote(self.job)
        self._asked[actor.node.remote()] = actor
        return actor

    def call(self, handle: Any, name: Literal["hold", "try_one"], argument: Any) -> None:
        """As of Probes."""
        self._calls[getattr(handle, name).remote(argument)] = handle

    def wait(self, seconds: float) -> list[tuple[Any, int | Ending | None]]:
        """As of Probes."""
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        found: list[tuple[Any, int | Ending | None]] = []
        ready, _ = ray.wait([*self._asked, *self._calls], timeout=seconds)
        for reference in ready:
            handle = self._asked.get(reference, self._calls.get(reference))
            if handle is None:
                # Of one that was found dead just now.
                continue
            try:
                answer: Any = ray.get(reference)
            except (ActorDiedError, ActorUnavailableError):
                found.append((handle, "died" if self._is_alive(self._nodes.get(handle)) else "lost"))
                self._forget(handle)
                continue
            if reference in self._asked:
                self._nodes[self._asked.pop(reference)] = answer
            else:
                found.append((self._calls.pop(reference), answer))
        return found

    def end(self, handle: Any) -> None:
        """As of Probes."""
        import ray

        self._forget(handle)
        ray.kill(handle)

    def _forget(self, handle: Any) -> None:
        for kept in (self._asked, self._calls):
            for reference in [each for each, actor in kept.items() if actor is handle]:
                del kept[reference]
        self._nodes.pop(handle, None)

    def _is_alive(self, node: str | None) -> bool:
        import ray

        return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
