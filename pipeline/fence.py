"""Writing to an output only while its lock is one's own: what a driver that lost it writes, nobody reads.

Every put of a run goes through a :class:`FencedStore`. Before each it reads the lock and the job's record again:
another holder, another generation or another fingerprint means that somebody else is at work here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.paths import JOB_FILE, LOCK_FILE
from pipeline.storage import Store


class LockLost(JobFailed):
    """The output belongs to somebody else by now; this run must write nothing more."""


def read_record(store: Store, relative: str) -> dict[str, Any] | None:
    """A JSON object of an output; ``None`` where there is none, empty where it is damaged."""
    data = store.read_or_none(relative)
    return None if data is None else parse_record(data)


def parse_record(data: bytes) -> dict[str, Any]:
    """The JSON object in the bytes of a record; empty where they are damaged."""
    try:
        tree = json.loads(data)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


@dataclass(frozen=True)
class Lease:
    """The right to write to an output: the lock's token, and which job's which generation it was given for.

    ``lock`` is the lock's file: the output's, or that of a part of the job.
    """

    token: str
    fingerprint: str
    generation: int
    lock: str = LOCK_FILE

    def check(self, store: Store) -> None:
        """Raise LockLost unless the output's lock and its job's record are still those of this lease."""
        if store.local:
            lock, job = read_record(store, self.lock), read_record(store, JOB_FILE)
        else:
            # Both at once: every write of a run waits for them.
            with ThreadPoolExecutor(2, "lease") as pool:
                lock, job = pool.map(lambda path: read_record(store, path), (self.lock, JOB_FILE))
        if lock is None or lock.get("token") != self.token:
            raise LockLost(_lost(store, lock))
        if job is None:
            raise LockLost(f"{store.uri()}: {JOB_FILE} was deleted while this run wrote here; it stops. Run it again")
        if (job.get("fingerprint"), job.get("generation", 1)) != (self.fingerprint, self.generation):
            raise LockLost(f"{store.uri()}: another job has taken this output over; this run stops and adds nothing")


def _lost(store: Store, lock: dict[str, Any] | None) -> str:
    if lock is None and read_record(store, JOB_FILE) is None:
        return f"{store.uri()}: the output was deleted while this run wrote to it; it stops. Run it again to start anew"
    if lock:
        who = f"run {lock.get('run')} on {lock.get('host')} (pid {lock.get('pid')}) has taken the lock over"
    else:
        who = "the lock is gone, so another run has taken it over or somebody deleted it"
    return f"{store.uri()}: {who}; this run stops and adds nothing more. What is committed stays"


@dataclass(frozen=True)
class FencedStore(Store):
    """A store that is written to only under a lease. Reading needs none."""

    lease: Lease | None = None

    def put(self, relative: str, data: bytes) -> None:
        """As ``Store.put``. Raises LockLost."""
        with self._held():
            super().put(relative, data)

    def put_new(self, relative: str, data: bytes) -> bool:
        """As ``Store.put_new``. Raises LockLost."""
        with self._held():
            return super().put_new(relative, data)

    def delete(self, relative: str) -> None:
        """As ``Store.delete``. Raises LockLost."""
        with self._held():
            super().delete(relative)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Under the lease. What fails inside because another run has taken over and cleaned up is a LockLost too."""
        if self.lease is None:
            raise InputError(f"{self.uri()}: a fenced store needs a lease")
        plain = Store(self.root, self.options)
        self.lease.check(plain)
        try:
            yield
        except Exception:
            self.lease.check(plain)
            raise
