"""The driver: plan, lock, run the graph, isolate what kills processes, finalise."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from methods.errors import InputError
from pipeline.fence import Lease, LockLost
from pipeline.findings import Finding
from pipeline.job import Job
from pipeline.labels.source import withdraw
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DEFAULT_LOGS, DRIVER, LogOptions, RunLogs, new_run
from pipeline.output.summary import RunSummary
from pipeline.paths import JOB_FILE, SUCCESS_FILE
from pipeline.plan import FilePlan, Plan, make_plan, refresh
from pipeline.run.belongings import clear
from pipeline.run.estimate import Amount, Estimate, estimate
from pipeline.run.executors import Executor, LocalExecutor, RayExecutor
from pipeline.run.label_check import check_labels
from pipeline.run.parts import WHOLE, Part
from pipeline.run.progress import Progress
from pipeline.run.resolving import Found, resolve
from pipeline.run.taking import take_output
from pipeline.run.work import Watch, Work
from pipeline.runlog import RunLog
from pipeline.sink.label_counts import label_warnings
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.uris import protocol_of, redact

_log = logging.getLogger(f"sceneshift.{__name__}")


@dataclass
class Outcome:
    """How a run ended.

    ``state`` is ``done``, ``nothing_to_do``, ``too_many_rejects`` (stopped or finished over ``max_rejects``), or
    ``part_done`` where other parts of the job have ``unfinished`` source files. ``summarised`` says whether there is a
    ``summary``: a part leaves that to the last one.
    ``findings`` say what of the source the whole output, not this run alone, does not hold. ``estimated`` is what was
    expected of the run before it began.
    """

    state: Literal["done", "nothing_to_do", "too_many_rejects", "part_done"]
    job: Job
    run: str
    progress: Progress
    summary: RunSummary = field(default_factory=RunSummary)
    warnings: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    unfinished: int = 0
    summarised: bool = True
    estimated: Estimate | None = None


def run_job(
    spec: JobSpec,
    *,
    local: bool = False,
    processes: int = 1,
    part: Part = WHOLE,
    fresh: bool = False,
    steal_lock: bool = False,
    watch: Watch = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
    log_options: LogOptions = DEFAULT_LOGS,
) -> Outcome:
    """Translate a dataset, or what is left of it.

    Args:
        local: work on this machine, without Ray.
        processes: with ``local``, how many work: one is this process itself, more are processes of their own.
        part: make only this part of the job; with ``local`` alone. Who ends last summarises the output.
        fresh: throw away what an earlier run with another spec left in the output.
        steal_lock: take over the output's lock even if its holder seems alive.
        watch: called with the running totals after every shard.
        say: called with a line for a person: where the work is done.
        log_options: of the run's log files, below `_sceneshift/logs`.

    Raises:
        InputError: the spec cannot work; nothing has been written.
        JobFailed: the machinery failed; what is committed stays, and a rerun does the rest.
    """
    found = Found.of(Store(spec.output.uri, spec.output.storage))
    if not part.whole and (fresh or not local):
        raise InputError("a part of a job is made with --local and without --fresh, which concerns the whole output")
    if processes > 1 and not local:
        raise InputError("processes are of a local run; on a cluster compute.workers says how many workers there are")
    job, plan = resolve(spec, fresh=fresh)
    share, before = part.of(plan), Progress(before=part.of(plan).committed)
    if not share.pending and not share.changed:
        left = len(plan.pending)
        if left or (job.store.exists(SUCCESS_FILE) and not plan.changed):
            state = "part_done" if left else "nothing_to_do"
            notes, findings = plan.notes(), plan.findings
            return Outcome(state, job, "", before, RunSummary(), notes, findings, left, summarised=False)
    mismatches = check_labels(job, plan)
    logs = RunLogs(job.store, new_run(), job.spec.name, log_options)
    executor = _executor(job, plan, logs, local=local, processes=processes)
    say(f"working {executor.where}" + ("" if part.whole else f" on part {part}: {len(share.files)} source files"))
    try:
        outcome = _locked_run(job, plan, found, logs, executor, _Order(part, fresh, steal_lock, watch, say))
    finally:
        executor.close()
    counted = label_warnings(outcome.summary.labels, matched=not mismatches) if outcome.summarised else []
    outcome.warnings[:0] = [*job.notes, *mismatches, *counted, *outcome.summary.dataset_notes]
    return outcome


def _executor(job: Job, plan: Plan, logs: RunLogs, *, local: bool, processes: int) -> Executor:
    if not local and plan.pending:
        return RayExecutor(job, logs)
    if processes > 1 and plan.pending:
        from pipeline.run.processes import ProcessExecutor

        return ProcessExecutor(job, processes, logs)
    return LocalExecutor(job)


@dataclass(frozen=True)
class _Order:
    """What was asked for of a run."""

    part: Part
    fresh: bool
    steal_lock: bool
    watch: Watch
    say: Callable[[str], None]


def _locked_run(job: Job, plan: Plan, found: Found, logs: RunLogs, executor: Executor, order: _Order) -> Outcome:
    """Take the output, work, and bring its summaries up to date. ``plan`` is of all files, ``found`` from before it."""
    part, run = order.part, logs.run
    with part.locked(job.store, run, steal=order.steal_lock) as held, logs.recording(DRIVER) as record:
        with part.turn(job.store, run):
            if not found.holds(Found.of(job.store), job, part.of(plan), whole=part.whole):
                # Another driver has worked here since: what is left to do is another question now.
                job, plan = resolve(job.spec, fresh=order.fresh)
            if executor.job.fingerprint != job.fingerprint:
                where = redact(job.store.uri())
                raise InputError(f"{where}: another run began this output at the same moment; run it again")
            began_empty = not job.store.exists(JOB_FILE)
            lease = Lease(held.token, job.fingerprint, job.generation, held.path)
            mine = take_output(job, plan, part, lease, fresh=order.fresh or began_empty)
        share = part.of(plan)
        others = [each for each in plan.files if not part.has(each.file.relative)]

        def note(files: Sequence[FilePlan]) -> None:
            with part.turn(mine.store, run):
                part.record(mine.store, files, others)

        estimated = estimate(job, share, executor.workers)
        progress = _progress(job, share, estimated.amount)
        log = RunLog(mine.store, run)
        executor.lend(mine)
        _log.info(
            "%s%s: %d source files, %d of them with shards to make, %d shards committed; fingerprint %s",
            redact(job.store.uri()),
            "" if part.whole else f", part {part}",
            len(share.files),
            len(share.pending),
            share.committed,
            job.fingerprint,
        )
        work = Work(mine, share, executor, progress, log, record, order.watch, held.lost, note, order.say)
        with failure_logged(logs.uri):
            try:
                stopped = work.off()
            except InputError:
                if part.whole and began_empty and not progress.shards:
                    record.discard()
                    clear(job.store, plan.files)
                raise
            finally:
                with contextlib.suppress(LockLost):
                    log.flush()
                    if job.label_table is not None:
                        withdraw(job.label_table, mine.store)
            with part.turn(mine.store, run):
                summary, left = _summarised(mine, part, work.files(), others)
    warnings = [*_warnings_of_place(job), *plan.notes()]
    warnings += [f"{uri}: the file changed since its shards were made; they were made anew" for uri in work.changed]
    warnings += [f"{notice.example} ({reason}: {notice.count})" for reason, notice in progress.notices.items()]
    warnings += progress.losses.notes()
    state = "too_many_rejects" if stopped else "done" if summary is not None else "part_done"
    findings = plan.findings if summary is None else summary.findings
    known = summary or RunSummary()
    return Outcome(state, job, run, progress, known, warnings, findings, left, summary is not None, estimated)


def _progress(job: Job, plan: Plan, amount: Amount) -> Progress:
    return Progress(
        shards_total=max(0, amount.shards - plan.committed),
        samples_total=amount.left * job.spec.variants,
        exact=amount.exact,
        before=plan.committed,
    )


def _summarised(
    job: Job, part: Part, files: Sequence[FilePlan], others: Sequence[FilePlan]
) -> tuple[RunSummary | None, int]:
    """The output's summaries, and how many source files are not finished. Needs the turn.

    While other parts have work left, there is nothing to summarise: the last one to end does it.
    """
    from pipeline.output.finalise import finalise

    recorded = part.record(job.store, files, others)
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


def _warnings_of_place(job: Job) -> list[str]:
    """Paths of one machine in a job for many."""
    address = job.spec.compute.address
    paths = [uri for uri in (*job.spec.source.uris, job.spec.output.uri) if protocol_of(uri) == "file"]
    if address is None or address in ("auto", "local") or not paths:
        return []
    return [f"{paths[0]} must be a disk that every machine of the cluster {address} shares"]
