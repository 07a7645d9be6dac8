"""The driver: plan, lock, run the graph, isolate what kills processes, finalise."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from methods.errors import InputError
from pipeline.fence import Lease, LockLost, read_record
from pipeline.findings import Finding, write_findings
from pipeline.job import Job, prepare
from pipeline.job_record import stored_job
from pipeline.labels.source import publish, withdraw, write_info
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DEFAULT_LOGS, DRIVER, LogOptions, RunLogs, new_run
from pipeline.output.summary import RunSummary
from pipeline.paths import INDEX, JOB_FILE, PLAN_FILE, SUCCESS_FILE
from pipeline.plan import Plan, make_plan, write_plan
from pipeline.run.belongings import clear, clear_shards, foreign, generations
from pipeline.run.estimate import count
from pipeline.run.executors import Executor, LocalExecutor, RayExecutor
from pipeline.run.label_check import check_labels
from pipeline.run.lock import locked
from pipeline.run.progress import Progress
from pipeline.run.work import Watch, Work
from pipeline.runlog import RunLog
from pipeline.sink.commit import take_back
from pipeline.sink.label_counts import label_warnings
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.translate.labelling import job_table
from pipeline.uris import printable, protocol_of, redact

_log = logging.getLogger(f"sceneshift.{__name__}")


@dataclass
class Outcome:
    """How a run ended.

    ``state`` is ``done``, ``nothing_to_do``, or ``too_many_rejects`` (stopped or finished over ``max_rejects``).
    ``findings`` say what of the source the whole output, not this run alone, does not hold.
    """

    state: Literal["done", "nothing_to_do", "too_many_rejects"]
    job: Job
    run: str
    progress: Progress
    summary: RunSummary = field(default_factory=RunSummary)
    warnings: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()


def run_job(
    spec: JobSpec,
    *,
    local: bool = False,
    fresh: bool = False,
    steal_lock: bool = False,
    watch: Watch = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
    log_options: LogOptions = DEFAULT_LOGS,
) -> Outcome:
    """Translate a dataset, or what is left of it.

    Args:
        local: work in this process, without Ray.
        fresh: throw away what an earlier run with another spec left in the output.
        steal_lock: take over the output's lock even if its holder seems alive.
        watch: called with the running totals after every shard.
        say: called with a line for a person: where the work is done.
        log_options: of the run's log files, below `_sceneshift/logs`.

    Raises:
        InputError: the spec cannot work; nothing has been written.
        JobFailed: the machinery failed; what is committed stays, and a rerun does the rest.
    """
    found = _Found.of(Store(spec.output.uri, spec.output.storage))
    job, plan = resolve(spec, fresh=fresh)
    if not plan.pending and job.store.exists(SUCCESS_FILE) and not plan.changed:
        before = Progress(before=plan.committed)
        return Outcome("nothing_to_do", job, "", before, warnings=plan.notes(), findings=plan.findings)
    mismatches = check_labels(job, plan)
    logs = RunLogs(job.store, new_run(), job.spec.name, log_options)
    executor = LocalExecutor(job) if local or not plan.pending else RayExecutor(job, logs)
    say(f"working {executor.where}")
    try:
        outcome = _locked_run(job, plan, found, logs, executor, fresh, steal_lock, watch)
    finally:
        executor.close()
    counted = label_warnings(outcome.summary.labels, matched=not mismatches)
    outcome.warnings[:0] = [*job.notes, *mismatches, *counted]
    return outcome


@dataclass(frozen=True)
class _Found:
    """What of an output decides what is left to do: its record, its plan, and the commits."""

    record: bytes | None
    plan: bytes | None
    commits: tuple[str, ...]

    @classmethod
    def of(cls, store: Store) -> _Found:
        store.require_bucket()
        commits = tuple(entry.path for entry in store.list(INDEX))
        return cls(store.read_or_none(JOB_FILE), store.read_or_none(PLAN_FILE), commits)


def resolve(spec: JobSpec, *, fresh: bool = False) -> tuple[Job, Plan]:
    """Check a spec against its output and list the work. Writes nothing.

    Raises InputError when the output belongs to another job, or holds something else.
    """
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    stored = None if fresh else stored_job(store)
    if stored is None:
        job = prepare(spec)
        if fresh:
            job = replace(job, generation=_next_generation(store, job.fingerprint))
        plan = make_plan(job, fresh=True)
        if read_record(store, JOB_FILE) is None and (found := foreign(store, plan.files)):
            raise InputError(
                f"{redact(store.uri())}: the folder holds something else already ({printable(found)}); "
                "give the job an output of its own"
            )
        return job, plan
    job = replace(prepare(spec, layout=stored.layout), generation=stored.generation)
    if job.fingerprint != stored.fingerprint:
        differs = _difference(stored.model_dump(mode="json"), job.describe())
        raise InputError(
            f"{redact(store.uri())}: holds the output of another job ({differs}); "
            "use another output, or --fresh to throw the old one away"
        )
    return job, make_plan(job)


def _next_generation(store: Store, fingerprint: str) -> int:
    """Which generation of the output ``--fresh`` begins: a new one, so that what an earlier driver still writes lands
    where nobody reads. The same job begun anew writes the same bytes, and keeps its own.
    """
    stored = read_record(store, JOB_FILE)
    if stored is None:
        return 1
    before = stored.get("generation", 1)
    if not isinstance(before, int):
        before = generations([entry.path for entry in store.list(INDEX)])
    return before if stored.get("fingerprint") == fingerprint else before + 1


def _difference(old: Any, new: Any, path: str = "") -> str:
    """The first settings in which two job descriptions differ, for a person."""
    ignored = {"spec", "fingerprint", "params", "weights", "version", "batch_size"}
    found: list[str] = []

    def walk(a: Any, b: Any, at: str) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                if at or key not in ignored:
                    walk(a.get(key), b.get(key), f"{at}.{key}" if at else key)
        elif a != b:
            found.append(f"{at.removeprefix('shaping.')}: {a!r} there, {b!r} here")

    walk(old, new, path)
    return "; ".join(found[:3]) or "its weights or parameters differ"


def _locked_run(
    job: Job,
    plan: Plan,
    found: _Found,
    logs: RunLogs,
    executor: Executor,
    fresh: bool,
    steal_lock: bool,
    watch: Watch,
) -> Outcome:
    from pipeline.output.finalise import finalise

    store, run = job.store, logs.run
    with locked(store, run, steal=steal_lock) as held, logs.recording(DRIVER) as record:
        if _Found.of(store) != found:
            # Another driver has worked here since: what is left to do is another question now.
            job, plan = resolve(job.spec, fresh=fresh)
        began_empty = not store.exists(JOB_FILE)
        _take(job, plan, fresh=fresh or began_empty)
        mine = replace(job, lease=Lease(held.token, job.fingerprint, job.generation))
        take_back(mine, plan.outdated)
        write_plan(mine.store, plan.files)
        write_findings(mine.store, plan.findings)
        mine.store.delete(SUCCESS_FILE)
        _share_labels(mine)
        amount = count(job, plan)
        progress = Progress(
            shards_total=max(0, amount.shards - plan.committed),
            samples_total=max(0, amount.samples - plan.committed * job.shard_size) * job.spec.variants,
            exact=amount.exact,
            before=plan.committed,
        )
        log = RunLog(mine.store, run)
        if executor.job.fingerprint != job.fingerprint:
            raise InputError(f"{redact(store.uri())}: another run began this output at the same moment; run it again")
        executor.lend(mine)
        _log.info(
            "%s: %d source files, %d of them with shards to make, %d shards committed; fingerprint %s",
            redact(store.uri()),
            len(plan.files),
            len(plan.pending),
            plan.committed,
            job.fingerprint,
        )
        work = Work(mine, plan, executor, progress, log, record, watch, held.lost)
        with failure_logged(logs.uri):
            try:
                stopped = work.off()
            except InputError:
                if began_empty and not progress.shards:
                    record.discard()
                    clear(store, plan.files)
                raise
            finally:
                with contextlib.suppress(LockLost):
                    log.flush()
                    if job.label_table is not None:
                        withdraw(job.label_table, mine.store)
            files = work.files()
            write_plan(mine.store, files)
            began = time.monotonic()
            summary = finalise(mine, complete=all(each.complete for each in files))
            _log.info("index, metrics, card and report written in %.1f s", time.monotonic() - began)
    warnings = [*_warnings_of_place(job), *plan.notes()]
    warnings += [f"{uri}: the file changed since its shards were made; they were made anew" for uri in work.changed]
    warnings += [f"{notice.example} ({reason}: {notice.count})" for reason, notice in progress.notices.items()]
    state = "too_many_rejects" if stopped else "done"
    return Outcome(state, job, run, progress, summary, warnings, summary.findings)


def _share_labels(job: Job) -> None:
    """Note what the labels came from, and put their table where the workers of other machines reach it."""
    table = job_table(job)
    if table is None:
        return
    write_info(table.info, job.store)
    table.close()
    if job.spec.compute.address not in (None, "local"):
        publish(table.path, job.store)


def _take(job: Job, plan: Plan, *, fresh: bool) -> None:
    """Put the job's record into the output and clear away what is not of this job, with the lock held.

    The record comes first: from then on what a driver of another job still writes is refused, or lands in a generation
    that nobody reads. Killed in between, the next run clears away the rest.
    """
    store = job.store
    record = json.dumps(job.describe(), indent=1, sort_keys=True).encode()
    if fresh:
        store.delete(SUCCESS_FILE)
        store.put(JOB_FILE, record)
        clear(store, plan.files, record_too=False)
    elif job.generation > 1:
        clear_shards(store, plan.files, keep=job.generation)


def _warnings_of_place(job: Job) -> list[str]:
    """Paths of one machine in a job for many."""
    address = job.spec.compute.address
    paths = [uri for uri in (*job.spec.source.uris, job.spec.output.uri) if protocol_of(uri) == "file"]
    if address is None or address in ("auto", "local") or not paths:
        return []
    return [f"{paths[0]} must be a disk that every machine of the cluster {address} shares"]
