"""One output in a run: its lock, its plan, what is made of it, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from methods.counting import counted as counted_noun
from methods.errors import InputError
from pipeline.fence import Lease, LockLost
from pipeline.job import Job
from pipeline.labels.source import withdraw
from pipeline.logs.run import WorkerLog
from pipeline.output.summary import RunSummary
from pipeline.paths import JOB_FILE
from pipeline.plan import FilePlan, Plan, make_plan, refresh
from pipeline.run.belongings import clear, clear_unfinished
from pipeline.run.estimate import Estimate, estimate
from pipeline.run.lock import Held
from pipeline.run.parts import Part
from pipeline.run.progress import Progress
from pipeline.run.resolving import OutputState, Resolved, resolve
from pipeline.run.taking import take_output
from pipeline.runlog import RunLog
from pipeline.uris import redact

_log = logging.getLogger(f"sceneshift.{__name__}")


@dataclass
class Session:
    """An output that a run has taken: its lock is held.

    Attributes:
        job: as it may write, under the lease.
        plan: of all files.
        held: the lock.
        began_empty: whether the output held nothing of a job before.
    """

    job: Job
    plan: Plan
    part: Part
    run: str
    progress: Progress
    log: RunLog
    estimated: Estimate | None
    held: Held
    began_empty: bool

    @classmethod
    def begin(
        cls,
        resolved: Resolved,
        part: Part,
        run: str,
        held: Held,
        workers: int | None,
        counted: Progress,
        *,
        fresh: bool,
    ) -> Session:
        """Take an output whose lock is held.

        Args:
            workers: how many will be at work on it, to say how long that will take; ``None`` says nothing.
            counted: what was made of it already by the command that this run is a part of.
            fresh: throw away what it holds.

        Raises:
            InputError: another job has begun there since it was looked at.
        """
        job, plan = resolved.job, resolved.plan
        with part.turn(job.store, run):
            if not resolved.found.holds(OutputState.of(job.store), job, part.of(plan), whole=part.whole):
                # Another driver has worked here since: what is left to do is another question now.
                job, plan = resolve(job.spec, fresh=fresh)
            if resolved.job.fingerprint != job.fingerprint:
                where = redact(job.store.uri())
                raise InputError(f"{where}: another run began this output at the same moment; run it again")
            began_empty = not job.store.exists(JOB_FILE)
            lease = Lease(held.token, job.fingerprint, job.generation, held.path)
            mine = take_output(job, plan, part, lease, fresh=fresh or began_empty)
        share = part.of(plan)
        counted.before = share.committed - counted.shards
        estimated = None
        if workers is not None:
            estimated = estimate(job, share, workers)
            amount = estimated.amount
            counted.shards_total = max(0, amount.shards - counted.before)
            counted.samples_total = counted.attempted + amount.left * job.spec.variants
            counted.exact = amount.exact
        _log.info(
            "%s%s: %s, %d of them with shards to make, %s committed; fingerprint %s",
            redact(job.store.uri()),
            "" if part.whole else f", part {part}",
            counted_noun(len(share.files), "source file"),
            len(share.pending),
            counted_noun(share.committed, "shard"),
            job.fingerprint,
        )
        return cls(mine, plan, part, run, counted, RunLog(mine.store, run), estimated, held, began_empty)

    @property
    def share(self) -> Plan:
        """The plan of the part."""
        return self.part.of(self.plan)

    @property
    def _others(self) -> list[FilePlan]:
        return [each for each in self.plan.files if not self.part.has(each.file.relative)]

    def note(self, files: Sequence[FilePlan]) -> None:
        """Record the plan of the part's files."""
        with self.part.turn(self.job.store, self.run):
            self.part.record(self.job.store, files, self._others)

    def leave(self) -> None:
        """After the work, however it ended: write down what the shards took, remove the label table."""
        with contextlib.suppress(LockLost):
            self.log.flush()
            if self.job.label_table is not None:
                withdraw(self.job.label_table, self.job.store)

    def shut_out(self) -> None:
        """End the work on the output: what a worker that was not waited for still tries to commit is refused.

        Otherwise a shard that was in the works when the run was stopped might be committed while, or after, the output
        is summarised, which would not have it.

        Raises:
            LockLost: the output belongs to somebody else by now.
        """
        lease = self.job.lease
        if lease is not None:
            self.held.renew()
            self.job = replace(self.job, lease=replace(lease, token=self.held.token))

    def undo(self, record: WorkerLog) -> None:
        """Leave the output as it was found if that was empty, and nothing was made."""
        if self.part.whole and self.began_empty and not self.progress.shards:
            record.discard()
            # not under the lease, which needs the record that goes with it
            clear(replace(self.job, lease=None).store, self.plan.files)

    def summarised(self, files: Sequence[FilePlan]) -> tuple[RunSummary | None, int]:
        """The output's summaries, and how many source files are not finished; ``files`` are the part's.

        While other parts have work left, there is nothing to summarise: the last one to end does it.
        """
        with self.part.turn(self.job.store, self.run):
            # A worker process may have been killed in the middle of a put; another one made its shard since.
            clear_unfinished(self.job.store, [each for each in files if each.complete])
            return self._summarised(files)

    def _summarised(self, files: Sequence[FilePlan]) -> tuple[RunSummary | None, int]:
        from pipeline.output.finalise import finalise

        job, part = self.job, self.part
        recorded = part.record(job.store, files, self._others)
        unfinished = sum(not each.complete for each in (recorded if part.whole else refresh(job, recorded)))
        if not part.whole and not unfinished:
            # The files of other parts may have changed since those ended.
            unfinished = len(make_plan(job).pending)
        if not part.whole and unfinished:
            return None, unfinished
        began = time.monotonic()
        summary = finalise(job, complete=not unfinished)
        _log.info("index, metrics, card and report written in %.1f s", time.monotonic() - began)
        return summary, unfinished
