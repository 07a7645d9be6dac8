"""The driver: plan, lock, run the graph, isolate what kills processes, finalise."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.job import JOB_FILE, Job, prepare, stored_job
from pipeline.labels import LabelTable, TableSource
from pipeline.labels.source import converted, publish, withdraw, write_info
from pipeline.logs.faults import failure_logged
from pipeline.logs.run import DEFAULT_LOGS, DRIVER, LogOptions, RunLogs, WorkerLog, new_run
from pipeline.plan import Plan, make_plan, refresh, write_plan
from pipeline.run.estimate import count
from pipeline.run.executors import Executor, LocalExecutor, RayExecutor
from pipeline.run.label_check import check_labels
from pipeline.run.lock import LOCK_FILE, locked
from pipeline.run.progress import Progress
from pipeline.run.steps import Failure
from pipeline.run.watchdog import watched
from pipeline.runlog import RunLog
from pipeline.sink.label_counts import describe_labels
from pipeline.sources.layout import Layout
from pipeline.spec import JobSpec
from pipeline.storage import Store, protocol_of, redact

_log = logging.getLogger(f"sceneshift.{__name__}")

Watch = Callable[[Progress], None]
_GIVE_UP_AFTER = 8


@dataclass
class Outcome:
    """How a run ended.

    ``state`` is ``done``, ``nothing_to_do``, or ``too_many_rejects`` (stopped or finished over ``max_rejects``).
    """

    state: Literal["done", "nothing_to_do", "too_many_rejects"]
    job: Job
    run: str
    progress: Progress
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


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
    job, plan = resolve(spec, fresh=fresh)
    if not plan.pending and job.store.exists("_sceneshift/success.json") and not plan.changed:
        return Outcome("nothing_to_do", job, "", Progress(before=plan.committed))
    warnings = [*job.notes, *check_labels(job, plan)]
    logs = RunLogs(job.store, new_run(), job.spec.name, log_options)
    executor = LocalExecutor(job) if local or not plan.pending else RayExecutor(job, logs)
    say(f"working {executor.where}")
    try:
        outcome = _locked_run(job, logs, executor, fresh, steal_lock, watch)
    finally:
        executor.close()
    outcome.warnings[:0] = warnings
    if outcome.summary["labels"]["left_out"]:
        outcome.warnings += describe_labels(outcome.summary["labels"])[-1:]
    return outcome


def resolve(spec: JobSpec, *, fresh: bool = False) -> tuple[Job, Plan]:
    """Check a spec against its output and list the work. Writes nothing.

    Raises InputError when the output belongs to another job, or holds something else.
    """
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    stored = stored_job(store)
    if stored is None or fresh:
        if stored is None and (found := _foreign(store)):
            raise InputError(
                f"{redact(store.uri())}: the folder holds something else already ({found}); "
                "give the job an output of its own"
            )
        job = prepare(spec)
    else:
        job = prepare(spec, layout=Layout.model_validate(stored["layout"]))
        if job.fingerprint != stored["fingerprint"]:
            raise InputError(
                f"{redact(store.uri())}: holds the output of another job ({_difference(stored, job.describe())}); "
                "use another output, or --fresh to throw the old one away"
            )
    return job, make_plan(job, fresh=fresh)


def _foreign(store: Store) -> str | None:
    """Something in the output folder that no job of ours has put there; the first name of it."""
    for entry in store.list():
        if not entry.path.startswith("_sceneshift/"):
            return entry.path
    return None


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


def _locked_run(job: Job, logs: RunLogs, executor: Executor, fresh: bool, steal_lock: bool, watch: Watch) -> Outcome:
    from pipeline.output.finalise import finalise

    store, run = job.store, logs.run
    with locked(store, run, steal=steal_lock), logs.recording(DRIVER) as record:
        if fresh:
            _clear(store)
        # Looked at again under the lock: another driver may have worked meanwhile.
        job, plan = resolve(job.spec)
        began_empty = not store.exists(JOB_FILE)
        store.put_new(JOB_FILE, json.dumps(job.describe(), indent=1, sort_keys=True).encode())
        write_plan(store, plan.files)
        store.delete("_sceneshift/success.json")
        _share_labels(job)
        amount = count(job, plan)
        progress = Progress(
            shards_total=max(0, amount.shards - plan.committed),
            samples_total=max(0, amount.samples - plan.committed * job.shard_size) * job.spec.variants,
            exact=amount.exact,
            before=plan.committed,
        )
        log = RunLog(store, run)
        _log.info(
            "%s: %d source files, %d of them with shards to make, %d shards committed; fingerprint %s",
            redact(store.uri()),
            len(plan.files),
            len(plan.pending),
            plan.committed,
            job.fingerprint,
        )
        with failure_logged(logs.uri):
            try:
                stopped = _work_off(job, plan, executor, progress, log, record, watch)
            except InputError:
                if began_empty and not progress.shards:
                    record.discard()
                    _clear(store)
                raise
            finally:
                log.flush()
                if job.label_table is not None:
                    withdraw(job.label_table, store)
            files = refresh(job, plan.files)
            write_plan(store, files)
            began = time.monotonic()
            summary = finalise(job, complete=all(each.complete for each in files))
            _log.info("index, metrics, card and report written in %.1f s", time.monotonic() - began)
    warnings = _warnings_of_place(job)
    warnings += [f"{uri}: the file changed since its shards were made; --fresh makes them anew" for uri in plan.changed]
    warnings += [
        f"member '{name}' is in {count} shards but not in the first source file; name it under source.carry to keep it"
        for name, count in progress.undeclared.items()
    ]
    warnings += [f"{notice.example} ({reason}: {notice.count})" for reason, notice in progress.notices.items()]
    state = "too_many_rejects" if stopped else "done"
    return Outcome(state, job, run, progress, summary, warnings)


def _share_labels(job: Job) -> None:
    """Note what the labels came from, and put their table where the workers of other machines reach it."""
    source = job.spec.source
    if source.labels.uri is None:
        return
    path = converted(TableSource(source.labels.uri, source.labels.format, source.storage))
    table = LabelTable(path)
    write_info(table.info, job.store)
    table.close()
    if job.spec.compute.address not in (None, "local"):
        publish(path, job.store)


def _warnings_of_place(job: Job) -> list[str]:
    """Paths of one machine in a job for many."""
    address = job.spec.compute.address
    paths = [uri for uri in (*job.spec.source.uris, job.spec.output.uri) if protocol_of(uri) == "file"]
    if address is None or address in ("auto", "local") or not paths:
        return []
    return [f"{paths[0]} must be a disk that every machine of the cluster {address} shares"]


def _clear(store: Store) -> None:
    """Remove everything of a job from its output, commits first, so that no reader meets a half of it."""
    for prefix in ("index", "data", "report"):
        store.delete_all(prefix)
    for entry in store.list():
        if entry.path != LOCK_FILE:
            store.delete(entry.path)


def _work_off(
    job: Job,
    plan: Plan,
    executor: Executor,
    progress: Progress,
    log: RunLog,
    record: WorkerLog,
    watch: Watch,
) -> bool:
    """Work until every file is complete. ``True`` when stopped because too much is rejected."""
    pending = plan.pending
    for attempt in range(3):
        if not pending:
            break
        if attempt:
            _log.warning("%d source files are unfinished though nothing failed: a worker process died", len(pending))
            pending = tuple(executor.isolate(each) for each in pending)
        failures: list[Failure] = []
        for event in watched(executor, pending, job.spec.compute.stall_timeout):
            record.put()
            if isinstance(event, Failure):
                _log.warning("%s: %s", event.where, event.message)
                if event.fatal:
                    raise InputError(event.message)
                failures.append(event)
                if len(failures) >= _GIVE_UP_AFTER and not progress.shards:
                    raise JobFailed(f"nothing succeeds; the first failure: {failures[0].where}: {failures[0].message}")
                continue
            progress.add(event)
            log.add(event)
            _log.debug("%s committed by %s: %d rows", event.shard, event.worker, event.attempted)
            watch(progress)
            if progress.over_limit(job.spec.max_rejects, final=False):
                return True
        pending = tuple(each for each in refresh(job, pending) if not each.complete)
        if failures and pending:
            first = failures[0]
            raise JobFailed(
                f"{len(pending)} source files are not finished; first failure: {first.where}: {first.message}. "
                "Run the job again to go on"
            )
    if pending:
        names = ", ".join(each.file.relative for each in pending[:3])
        raise JobFailed(
            f"{len(pending)} source files keep taking their worker process down and no single sample does it alone "
            f"({names}); a smaller compute.batch_size or output.shard_size may help. Run the job again to go on"
        )
    return progress.over_limit(job.spec.max_rejects, final=True)
