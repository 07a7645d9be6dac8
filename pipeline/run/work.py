"""Working off what a plan has left: rounds over the pending files until all are complete."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from methods.counting import counted
from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.logs.run import WorkerLog
from pipeline.plan import FilePlan, committed_parts, make_plan, refresh
from pipeline.run.companion import Carried
from pipeline.run.executors import Executor
from pipeline.run.progress import Progress
from pipeline.run.session import Session
from pipeline.run.steps import Failure
from pipeline.run.watchdog import watched
from pipeline.runlog import RunLog
from pipeline.sink.commit import take_back
from pipeline.uris import redact

_log = logging.getLogger(f"sceneshift.{__name__}")

Watch = Callable[[Progress], None]
"""Called with the running totals after every shard."""

_GIVE_UP_AFTER = 8
_IDLE_ROUNDS = 3
_CHANGES = 3
_LAST = 2000


@dataclass
class _Round:
    """What came of one walk through the pending files; of receipts, the last (shard, worker)."""

    stopped: bool = False
    failures: list[Failure] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    receipts: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_LAST))


class Work:
    """The files of a plan on their way to being complete.

    Attributes:
        changed: addresses of the files whose shards were made anew, because they are not what they were.
    """

    def __init__(
        self,
        session: Session,
        executor: Executor,
        record: WorkerLog,
        watch: Watch,
        say: Callable[[str], None],
        others: Mapping[str, tuple[Progress, RunLog]] | None = None,
    ) -> None:
        """``say`` gets lines for a person; ``others`` count what is made for companions, by target."""
        self.session, self.job, self.progress, self.log = session, session.job, session.progress, session.log
        self.executor, self.record, self.watch, self.say = executor, record, watch, say
        self.others = dict(others or {})
        self.changed: list[str] = list(session.share.changed)
        self._files = {each.file.relative: each for each in session.share.files}

    def files(self) -> tuple[FilePlan, ...]:
        """All files as they are now, sorted."""
        return refresh(self.job, [self._files[name] for name in sorted(self._files)])

    def off(self) -> bool:
        """Work until every file is complete. ``True`` when stopped before, for too many rejects of whichever target.

        Companions are carried through the first round: what is left after it, because processes died over it, may be a
        matter of the companions, and is made for each output by itself.

        Raises:
            InputError: something of the user's that every shard would meet.
            JobFailed: the machinery failed, or the lock was lost; what is committed stays.
        """
        pending = tuple(each for each in self._files.values() if not each.complete)
        idle, changes = 0, 0
        while pending:
            before = self.progress.shards
            found = self._round(pending)
            self.executor.lend(self.job)
            self.progress.losses.add(*self.executor.losses(), found.receipts)
            if found.stopped:
                return True
            pending = tuple(each for each in refresh(self.job, pending) if not each.complete)
            if found.changed and changes < _CHANGES:
                changes += 1
                pending = self._planned_anew(pending, found.changed)
                continue
            for name in sorted(found.changed):
                found.failures.append(Failure(name, "the file keeps changing while it is read"))
            if found.failures and pending:
                first = found.failures[0]
                raise JobFailed(
                    f"{counted(len(pending), 'source file', 'is/are')} not finished; first failure: "
                    f"{first.where}: {first.message}. Run the job again to go on"
                )
            idle = 0 if self.progress.shards > before else idle + 1
            if pending and idle == _IDLE_ROUNDS:
                raise JobFailed(_deadly(pending))
            if pending:
                pending = self._searched(pending)
        return False

    def _round(self, pending: Sequence[FilePlan]) -> _Round:
        found = _Round()
        for event in watched(self.executor, pending, self.job.spec.compute.stall_timeout, self._check_lock):
            # The whole file is written anew; a shard takes less time than that.
            self.record.put(every=1.0)
            if isinstance(event, Failure):
                # What ends the run is said once, as its one line.
                level = logging.WARNING if event.kind in ("step", "changed") else logging.INFO
                _log.log(level, "%s: %s", event.where, event.message)
                self._note(event, found)
                continue
            if isinstance(event, Carried):
                progress, log = self.others[event.target]
                progress.add(event.receipt)
                log.add(event.receipt)
                if progress.over_limit(self.job.spec.max_rejects, final=False):
                    found.stopped = True
                    break
                continue
            self.progress.add(event)
            found.receipts.append((event.shard, event.worker))
            self.log.add(event)
            _log.debug("%s committed by %s: %d rows", event.shard, event.worker, event.attempted)
            self.watch(self.progress)
            if self.progress.over_limit(self.job.spec.max_rejects, final=False):
                found.stopped = True
                break
        return found

    def _searched(self, pending: Sequence[FilePlan]) -> tuple[FilePlan, ...]:
        """Before what is left is tried again: shards that died twice on different processes are walked through."""
        losses = self.progress.losses
        _log.warning(
            "%d source files are unfinished though nothing failed: %d worker processes died, %d more with their node",
            len(pending),
            losses.crashes,
            losses.preemptions,
        )
        suspects: dict[str, list[int]] = {}
        for each in pending:
            parts = [part for part in losses.suspects(each.file.shard_stem) if part not in each.done]
            if parts:
                suspects[each.file.relative] = parts
        if not suspects:
            return tuple(pending)
        searched = self.executor.isolate(pending, suspects, self.say)
        for each in pending:
            losses.forget(each.file.shard_id(part) for part in suspects.get(each.file.relative, ()))
        return searched

    def _check_lock(self) -> None:
        """The heart-beat has seen another holder: say so even if no shard is due for long."""
        if self.session.held.lost.is_set() and self.job.lease is not None:
            self.job.lease.check(self.job.store)

    def _note(self, failure: Failure, found: _Round) -> None:
        if failure.kind == "input":
            raise InputError(failure.message)
        if failure.kind == "job":
            raise JobFailed(failure.message)
        if failure.kind == "changed":
            found.changed.add(failure.where)
            return
        found.failures.append(failure)
        if len(found.failures) >= _GIVE_UP_AFTER and not self.progress.shards:
            first = found.failures[0]
            raise JobFailed(f"nothing succeeds; the first failure: {first.where}: {first.message}")

    def _planned_anew(self, pending: Sequence[FilePlan], changed: set[str]) -> tuple[FilePlan, ...]:
        """The pending files, with those that changed as they are now and without shards; without what vanished."""
        now = {each.file.relative: each for each in make_plan(self.job).files}
        parts = committed_parts(self.job.store)
        for name in sorted(changed):
            file = self._files.pop(name).file
            self.changed.append(redact(file.uri))
            take_back(self.job, [file.shard_id(part) for part in sorted(parts.get(file.shard_stem, ()))])
            if name in now:
                self._files[name] = FilePlan(now[name].file)
        self.session.note([self._files[name] for name in sorted(self._files)])
        kept = [each for each in pending if each.file.relative not in changed]
        return (*kept, *(self._files[name] for name in sorted(changed) if name in self._files))


def _deadly(pending: Sequence[FilePlan]) -> str:
    names = ", ".join(each.file.relative for each in pending[:3])
    return (
        f"{counted(len(pending), 'source file', 'keeps/keep')} taking down the worker process and no single "
        f"sample does it alone ({names}); a smaller compute.batch_size or output.shard_size may help. "
        "Run the job again to go on"
    )
