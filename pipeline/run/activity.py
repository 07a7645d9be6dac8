"""Who works on what right now: workers write, the driver's watchdog reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.translate.items import WAITS

ENDS = "ends"
"""The note that takes a shard's entry down: it is done."""


@dataclass
class Activity:
    """The last thing each (worker, shard) said. A Ray actor on a cluster, a plain object in a local run."""

    entries: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)

    def begin(self, worker: str, node: str, shard: str) -> None:
        """A worker on a node takes a shard in hand."""
        self.nodes[worker] = node
        self.entries[worker, shard] = (WAITS, time.time())

    def write(self, worker: str, shard: str, what: str) -> None:
        """Note what a worker begins to do with a shard; ``ENDS`` takes the note down."""
        if what == ENDS:
            self.entries.pop((worker, shard), None)
        else:
            self.entries[worker, shard] = (what, time.time())

    def read(self) -> list[tuple[str, str, str, float]]:
        """(worker, shard, what, seconds since): who holds a device before who waits for one, longest first."""
        now = time.time()
        rows = [(worker, shard, what, now - at) for (worker, shard), (what, at) in self.entries.items()]
        return sorted(rows, key=lambda row: (row[2] == WAITS, -row[3]))

    def take_unended(self) -> list[tuple[str, str, str]]:
        """(shard, worker, node) of what was begun and not ended, which is forgotten with that.

        When nobody works any more, these are the shards whose worker died over them.
        """
        found = [(shard, worker, self.nodes.get(worker, "")) for worker, shard in self.entries]
        self.entries.clear()
        return found


class ActivityReporter:
    """A worker's end of an activity record that lives in another process: passes on once in a while what is new.

    A call of an actor takes a millisecond in both processes, and a fast method has a hundred batches per second. That
    a shard is begun is passed on at once, so that it is known what a worker that dies had in hand.
    """

    def __init__(self, begin: Callable[[str], object], write: Callable[[str, str], object], every: float = 1.0) -> None:
        self._begin, self._write, self._every = begin, write, every
        self._latest: dict[str, str] = {}
        self._passed_on: dict[str, str] = {}
        self._changing = threading.Lock()
        threading.Thread(target=self._report, name="report", daemon=True).start()

    def begin(self, shard: str) -> None:
        """The shard is taken in hand."""
        with self._changing:
            self._passed_on[shard] = WAITS
        self._begin(shard)

    def note(self, shard: str, what: str) -> None:
        """As ``Activity.write``, for this worker."""
        with self._changing:
            if what != ENDS:
                self._latest[shard] = what
                return
            self._latest.pop(shard, None)
            if self._passed_on.pop(shard, None) is not None:
                self._write(shard, ENDS)

    def _report(self) -> None:
        while True:
            time.sleep(self._every)
            with self._changing:
                for shard, what in self._latest.items():
                    if self._passed_on.get(shard) != what:
                        self._passed_on[shard] = what
                        self._write(shard, what)
