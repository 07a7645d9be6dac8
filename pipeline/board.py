"""Who works on what right now: workers write, the driver's watchdog reads."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

WAITS, ENDS = "waiting for the device", "ends"
"""Words with a meaning of their own among the notes: a shard has been taken up; a shard is done."""


@dataclass
class Board:
    """The last thing each (worker, shard) said. A Ray actor on a cluster, a plain object in a local run."""

    entries: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

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
