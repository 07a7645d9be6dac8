"""The driver: plan, lock, run the graph, isolate what kills processes, finalise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from methods.counting import counted
from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.findings import Finding
from pipeline.job import Job
from pipeline.logs.context import about, log_context
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DEFAULT_LOGS, DRIVER, LogOptions, RunLogs, new_run
from pipeline.output.summary import RunSummary
from pipeline.paths import SUCCESS_FILE
from pipeline.plan import FilePlan, refresh
from pipeline.run.companion import Companion
from pipeline.run.estimate import Estimate
from pipeline.run.executors import Executor, LocalExecutor, RayExecutor
from pipeline.run.label_check import check_labels
from pipeline.run.parts import WHOLE, Part
from pipeline.run.progress import Progress
from pipeline.run.resolving import Resolved
from pipeline.run.session import Session
from pipeline.run.units import units_of
from pipeline.run.work import Watch, Work
from pipeline.run.writable import require_writable
from pipeline.sink.label_counts import label_warnings
from pipeline.spec import JobSpec
from pipeline.storage import Unreachable
from pipeline.uris import protocol_of


@dataclass
class Outcome:
    """How a run ended.

    ``state`` is ``done``, ``nothing_to_do``, ``too_many_rejects`` (stopped or finished over ``max_rejects``),
    ``stopped`` where that happened to another target, or ``part_done`` where other parts of the job have ``unfinished``
    source files. ``summarised`` says whether there is a
    ``summary``: a part leaves that to the last one.
    ``findings`` say what of the source the whole output, not this run alone, does not hold. ``estimated`` is what was
    expected of the run before it began.
    """

    state: Literal["done", "nothing_to_do", "too_many_rejects", "stopped", "part_done"]
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
        InputError: the spec cannot work, or has targets (:func:`pipeline.run.targets.run_targets` runs those); nothing
            has been written.
        JobFailed: the machinery failed; what is committed stays, and a rerun does the rest.
    """
    order = Order(
        local, processes, part, frozenset([""]) if fresh else frozenset(), steal_lock, watch, say, log_options
    )
    order.check()
    require_writable([spec], fresh=fresh)
    return run_outputs({"": Resolved.of(spec, fresh=fresh)}, order)[""]


@dataclass(frozen=True)
class Order:
    """What was asked for of a run; arguments of :func:`run_job`.

    Attributes:
        fresh: targets whose output is begun anew.
        counted: what was made of each target already by the same command.
    """

    local: bool = False
    processes: int = 1
    part: Part = WHOLE
    fresh: frozenset[str] = frozenset()
    steal_lock: bool = False
    watch: Watch = lambda progress: None
    say: Callable[[str], None] = lambda text: None
    log_options: LogOptions = DEFAULT_LOGS
    counted: Mapping[str, Progress] = field(default_factory=dict)

    def check(self) -> None:
        """Raise InputError for what does not go together."""
        if not self.part.whole and (self.fresh or not self.local):
            raise InputError(
                "a part of a job is made with --local and without --fresh, which concerns the whole output"
            )
        if self.processes > 1 and not self.local:
            raise InputError(
                "processes are of a local run; on a cluster compute.workers says how many workers there are"
            )


def run_outputs(outputs: Mapping[str, Resolved], order: Order) -> dict[str, Outcome]:
    """Make what is left of one output, and of others whatever they want of the shards that it reads.

    Args:
        outputs: by target; the first leads. The others must have the same shards.

    Returns:
        How it ended for the first, and for those of the others that are finished with it or were stopped with it.

    Raises:
        InputError, JobFailed: as :func:`run_job`.
    """
    (leading, first), *_ = outputs.items()
    if (idle := _nothing_to_do(first, order.part)) is not None:
        return {leading: idle}
    job, plan = first.job, first.plan
    mismatches = check_labels(job, plan, [each.job for each in outputs.values()][1:])
    run = new_run()
    jobs = {target: each.job for target, each in outputs.items()}
    logs, *beside = (
        RunLogs(each.store, run, each.spec.name, order.log_options, target) for target, each in jobs.items()
    )
    logs = replace(logs, beside=tuple(beside))
    executor = _executor(jobs, logs, order, order.part.of(plan).pending)
    order.say(f"working {_on(outputs)}{executor.where}{_of(order.part, first)}")
    try:
        outcomes = _locked_run(outputs, logs, executor, order)
    finally:
        executor.close()
    for target, outcome in outcomes.items():
        counted = label_warnings(outcome.summary.labels, matched=not mismatches) if outcome.summarised else []
        notes = [*outcome.job.notes, *mismatches] if target == leading else []
        outcome.warnings[:0] = [*notes, *counted, *outcome.summary.dataset_notes]
    return outcomes


def _executor(jobs: Mapping[str, Job], logs: RunLogs, order: Order, pending: Sequence[FilePlan]) -> Executor:
    if pending and not order.local:
        return RayExecutor(jobs, logs)
    job = next(iter(jobs.values()))
    busy = min(order.processes, len(units_of(pending, job.source_format, order.processes)))
    if busy < order.processes and pending:
        order.say(
            f"{counted(order.processes, 'process', 'is/are')} more than there are source files to do: {busy} work"
        )
    if busy > 1:
        from pipeline.run.processes import ProcessExecutor

        return ProcessExecutor(jobs, busy, logs)
    return LocalExecutor(jobs)


def _nothing_to_do(resolved: Resolved, part: Part) -> Outcome | None:
    job, plan = resolved.job, resolved.plan
    share = part.of(plan)
    if share.pending or share.changed:
        return None
    left = len(plan.pending)
    if not left and (plan.changed or not job.store.exists(SUCCESS_FILE)):
        return None
    state = "part_done" if left else "nothing_to_do"
    before = Progress(before=share.committed)
    return Outcome(state, job, "", before, RunSummary(), plan.notes(), plan.findings, left, summarised=False)


def _on(outputs: Mapping[str, Resolved]) -> str:
    leading, *others = outputs
    beside = f", with {', '.join(others)} beside it," if others else ""
    return f"on target {leading}{beside} " if leading else ""


def _of(part: Part, resolved: Resolved) -> str:
    return "" if part.whole else f" on part {part}: {counted(len(part.of(resolved.plan).files), 'source file')}"


def _locked_run(outputs: Mapping[str, Resolved], logs: RunLogs, executor: Executor, order: Order) -> dict[str, Outcome]:
    """Take the outputs, work, and bring their summaries up to date."""
    part, run = order.part, logs.run
    leading = next(iter(outputs))
    with contextlib.ExitStack() as stack:
        # All locks before anything is touched.
        held = {
            target: stack.enter_context(part.locked(each.job.store, run, steal=order.steal_lock))
            for target, each in outputs.items()
        }
        record = stack.enter_context(logs.recording(DRIVER))
        sessions: dict[str, Session] = {}
        for target, each in outputs.items():
            workers = executor.workers if target == leading else None
            counted = order.counted.get(target) or Progress()
            with log_context(**about(target)):
                sessions[target] = Session.begin(
                    each, part, run, held[target], workers, counted, fresh=target in order.fresh
                )
        lead = sessions[leading]
        others = {target: each for target, each in sessions.items() if target != leading}
        companions = [Companion.of(target, each.job, each.share, lead.share) for target, each in others.items()]
        executor.lend(lead.job, companions)
        beside = {target: (each.progress, each.log) for target, each in others.items()}
        work = Work(lead, executor, record, order.watch, order.say, beside)
        with failure_logged(logs.uri), _answered_until_now():
            try:
                stopped = work.off()
            except InputError:
                for each in sessions.values():
                    each.undo(record)
                raise
            finally:
                for each in sessions.values():
                    each.leave()
            for each in sessions.values():
                each.shut_out()
            outcomes = {leading: _ended(lead, work.files(), stopped)}
            for target, each in others.items():
                files = refresh(each.job, each.share.files)
                if stopped or all(file.complete for file in files):
                    with log_context(**about(target)):
                        outcomes[target] = _ended(each, files, stopped)
    changed = [f"{uri}: the file changed since its shards were made; they were made anew" for uri in work.changed]
    outcomes[leading].warnings[:0] = [*_warnings_of_place(lead.job), *changed]
    return outcomes


@contextlib.contextmanager
def _answered_until_now() -> Iterator[None]:
    """Inside, a store that does not answer any more is no mistake of the user's."""
    try:
        yield
    except Unreachable as error:
        raise JobFailed(f"{error}. What is committed stays; run the job again to go on") from error


def _ended(session: Session, files: Sequence[FilePlan], stopped: bool) -> Outcome:
    """Summarise an output of which no more is made in this run."""
    summary, left = session.summarised(files)
    plan, progress = session.plan, session.progress
    cut_short = stopped and any(not each.complete for each in files)
    if progress.over_limit(session.job.spec.max_rejects, final=not cut_short):
        state = "too_many_rejects"
    elif cut_short:
        state = "stopped"
    else:
        state = "done" if summary is not None else "part_done"
    warnings = [*plan.notes(), *(f"{each.example} ({name}: {each.count})" for name, each in progress.notices.items())]
    warnings += progress.losses.notes()
    findings = plan.findings if summary is None else summary.findings
    known, job = summary or RunSummary(), replace(session.job, lease=None)
    return Outcome(
        state, job, session.run, progress, known, warnings, findings, left, summary is not None, session.estimated
    )


def _warnings_of_place(job: Job) -> list[str]:
    """Paths of one machine in a job for many."""
    address = job.spec.compute.address
    paths = [uri for uri in (*job.spec.source.uris, job.spec.output.uri) if protocol_of(uri) == "file"]
    if address is None or address in ("auto", "local") or not paths:
        return []
    return [f"{paths[0]} must be a disk that every machine of the cluster {address} shares"]
