"""A job worked on in parts, each by a process of its own without Ray: the way for job arrays and any batch system.

A part has a share of the source files, by a hash of their names, and a lock of its own, which its commits are checked
against. What concerns the whole output (its record, its plan, the summaries at the end) each part does in a short turn
under the output's own lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from methods.errors import InputError
from pipeline.paths import PART_LOCKS
from pipeline.plan import FilePlan, Plan, read_plan, write_plan
from pipeline.run.lock import Busy, Held, busy_line, holder, is_stale, locked
from pipeline.storage import Store
from pipeline.uris import redact

TURN_SECONDS = 900.0
"""How long a part waits for its turn: others list the source then, or summarise the output."""

_NAME = re.compile(r"(\d{1,5})-of-(\d{1,5})\.json")


@dataclass(frozen=True)
class Part:
    """The number-th of ``count`` parts, counted from 1. Part 1 of 1 is the whole job."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """``2/3``. Raises InputError."""
        found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"--part {text}: write it as number/count, from 1/{found[2] if found else 'N'} on")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether this is all of the job."""
        return self.count == 1

    def has(self, relative: str) -> bool:
        """Whether a source file belongs to the part, by its name alone: new files change nothing for old ones."""
        digest = hashlib.sha256(relative.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1

    def of(self, plan: Plan) -> Plan:
        """The plan of the part."""
        files = tuple(each for each in plan.files if self.has(each.file.relative))
        stems, uris = {each.file.shard_stem for each in files}, {redact(each.file.uri) for each in files}
        outdated = tuple(shard for shard in plan.outdated if shard.rpartition("-")[0] in stems)
        return replace(plan, files=files, outdated=outdated, changed=tuple(uri for uri in plan.changed if uri in uris))

    @contextlib.contextmanager
    def locked(self, store: Store, run: str, *, steal: bool) -> Iterator[Held]:
        """Hold the lock that the part's work needs.

        Raises:
            Busy: the part is at work already, or the whole job is, or it is worked on in other parts.
        """
        if self.whole:
            with locked(store, run, steal=steal) as held:
                for path, found in _locks(store):
                    if not steal and not is_stale(found):
                        raise Busy(busy_line(store, found), store, found, path)
                    # What a part that is gone still writes is refused from now on.
                    store.delete(path)
                yield held
            return
        with contextlib.ExitStack() as stack:
            with self.turn(store, run):
                for path, found in _locks(store):
                    other = _part_of(path)
                    if other is not None and other.count != self.count and not is_stale(found):
                        said = f"{busy_line(store, found)}: one output is worked on in one number of parts"
                        raise Busy(said, store, found, path)
                path = f"{PART_LOCKS}/{self.number}-of-{self.count}.json"
                held = stack.enter_context(locked(store, run, steal=steal, path=path, part=str(self)))
            yield held

    @contextlib.contextmanager
    def turn(self, store: Store, run: str) -> Iterator[None]:
        """Be the one part that concerns itself with the whole output; who holds all of it anyway need not wait.

        Raises Busy when the whole job is at work.
        """
        if self.whole:
            yield
            return
        deadline = time.monotonic() + TURN_SECONDS
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(store, run, part=str(self)))
                    break
                except Busy:
                    found = holder(store)
                    if (found is not None and not found.get("part")) or time.monotonic() > deadline:
                        raise
                time.sleep(random.uniform(0.1, 0.5))
            yield

    def record(self, store: Store, files: Sequence[FilePlan], others: Sequence[FilePlan]) -> tuple[FilePlan, ...]:
        """Record the plan of the part's ``files``; of other parts' files what is recorded stays. Needs the turn.

        Args:
            others: the files of other parts as planned; recorded where nothing is known of them yet.

        Returns:
            All files as recorded, sorted.
        """
        if not self.whole:
            known = {each.file.relative: each for each in read_plan(store)}
            kept = [known.get(each.file.relative, each) for each in others]
            files = sorted([*files, *kept], key=lambda each: each.file.relative)
        write_plan(store, files)
        return tuple(files)


WHOLE = Part()


def at_work(store: Store) -> list[tuple[Part, dict[str, Any]]]:
    """The parts of a job that are being worked on, with the content of their locks."""
    found = [(_part_of(path), lock) for path, lock in _locks(store) if not is_stale(lock)]
    return sorted(((part, lock) for part, lock in found if part is not None), key=lambda each: each[0].number)


def _locks(store: Store) -> list[tuple[str, dict[str, Any]]]:
    paths = [entry.path for entry in store.list(PART_LOCKS) if entry.path.endswith(".json")]
    return [(path, found) for path in paths if (found := holder(store, path)) is not None]


def _part_of(path: str) -> Part | None:
    found = _NAME.fullmatch(path.rpartition("/")[2])
    return None if found is None else Part(int(found[1]), int(found[2]))
