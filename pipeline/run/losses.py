"""What a run lost on its way: worker processes that crashed or went with their node, and what they had in hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from methods.counting import counted

_TWICE = 2


@dataclass
class WorkerLosses:
    """Workers that died with shards in hand: by themselves (crashes), or with their node (preemptions).

    Attributes:
        crashed: shard -> the workers that died over it on nodes that lived on; of a shard that was searched, none.
        crashes, preemptions: how many workers were lost in all.
    """

    crashed: dict[str, set[str]] = field(default_factory=dict)
    crashes: int = 0
    preemptions: int = 0

    def add(
        self, found: list[tuple[str, str, str]], alive: Mapping[str, bool], done: Collection[tuple[str, str]]
    ) -> None:
        """Take into account what one round left unended.

        Args:
            found: (shard, worker, node), as ``Activity.take_unended`` gives them.
            alive: node -> whether it is there; one that is not named is gone.
            done: (shard, worker) of the last receipts: a worker that is ended may not pass on any more that it is done.
        """
        workers: dict[str, bool] = {}
        for shard, worker, node in found:
            if (shard, worker) in done:
                continue
            workers[worker] = alive.get(node, False)
            if workers[worker]:
                self.crashed.setdefault(shard, set()).add(worker)
        self.crashes += sum(workers.values())
        self.preemptions += len(workers) - sum(workers.values())

    def suspects(self, stem: str) -> list[int]:
        """The parts of a source file, by the stem of its shards, that took down two different processes."""
        found = [shard.rpartition("-") for shard, workers in self.crashed.items() if len(workers) >= _TWICE]
        return sorted(int(part) for name, _, part in found if name == stem)

    def forget(self, shards: Iterable[str]) -> None:
        """These were searched: what is left of them counts anew."""
        for shard in shards:
            self.crashed.pop(shard, None)

    def notes(self) -> list[str]:
        """What a person is to know of it, one line each."""
        notes = []
        if self.crashes:
            notes.append(f"{counted(self.crashes, 'worker process')} crashed; what was in hand there was made again")
        if self.preemptions:
            notes.append(
                f"{counted(self.preemptions, 'worker process')} went with the node; the shards were made elsewhere"
            )
        return notes
