"""The Ray Data graph: source files -> shards -> translated shards -> receipts. A row is a shard from end to end.

Facts of Ray 2.60 that shape it:
- Stages with equal resources are fused; read and write ask for another share of a CPU than the actors do, so that
  reading stays out of the actors' processes on CPU too.
- A process that dies is retried for ever by default. Here an actor's call is tried twice, and a block that still fails
  is dropped: a block is one shard, so a dropped block is a shard without index part, which the driver sees by listing.
- One row a block: with any larger block a lost block would lose its neighbours.
"""

from __future__ import annotations

import logging
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from methods.errors import InputError
from pipeline.job import Job
from pipeline.logs.context import about, log_context
from pipeline.logs.run import RunLogs
from pipeline.plan import FilePlan
from pipeline.run.activity import ENDS, ActivityReporter
from pipeline.run.cluster import Demand
from pipeline.run.companion import Companion, Event, Made, commit_others
from pipeline.run.steps import Failure, failure_of
from pipeline.run.units import units_of

_log = logging.getLogger(f"sceneshift.{__name__}")

READ_CPUS = 0.25
WRITE_CPUS = 0.2


def demand_of(job: Job) -> Demand:
    """What the job asks of a cluster: its workers, with readers and writers beside them."""
    compute = job.spec.compute
    workers = compute.workers
    pair = (workers, workers) if isinstance(workers, int) else workers
    return Demand(
        workers=None if pair == "auto" else pair,
        cpus=compute.cpus,
        gpus=compute.gpus,
        threads=compute.torch_threads,
        beside=READ_CPUS + WRITE_CPUS,
        address=compute.address,
    )


def make_activity() -> Any:
    """The activity record as an actor that costs no CPU slot."""
    import ray

    from pipeline.run.activity import Activity

    return ray.remote(num_cpus=0, max_restarts=-1)(Activity).remote()


class _TranslateStage:
    """Lives in each worker process. Two calls may be inside at a time; the translator's device thread orders them."""

    def __init__(self, jobs: Mapping[str, Job], companions: Sequence[Companion], activity: Any, logs: RunLogs) -> None:
        self.companions = companions
        self.failure: Failure | None = None
        self.logs = logs
        # The thread that holds the device must get the interpreter back from a decoding one at once: with Python's own
        # 5 ms every batch would wait for it several times.
        sys.setswitchinterval(0.0001)
        try:
            from methods.weights import go_offline
            from pipeline.run.translators import Translators

            with logs.recording():
                began = time.monotonic()
                # A node that joined later has not fetched them yet; the first of its workers does.
                go_offline([uri for each in jobs.values() for uri in each.weights_by_uri])
                self.translators = Translators(jobs)
                loaded = ", ".join(each.method_label for each in jobs.values())
                device = self.translators.lead.job.device
                _log.info("%s loaded on %s in %.1f s", loaded, device, time.monotonic() - began)
        except InputError as error:
            self.failure = Failure("start", str(error), "input")
            return
        worker = self.translators.lead.worker
        node = _node()
        # Waited for, but not for ever: what a worker that dies had in hand must be known.
        begin = partial(_noted, lambda shard: activity.begin.remote(worker, node, shard))
        self.reporter = ActivityReporter(begin, lambda shard, what: activity.write.remote(worker, shard, what))

    def __call__(self, batch: Any) -> Any:
        payload = pickle.loads(batch["payload"][0])
        if self.failure is not None:
            return _row(self.failure)
        if isinstance(payload, Failure):
            return _row(payload)
        self.reporter.begin(payload.id)
        with self.logs.recording():
            try:
                return _row(self.translators.translate(payload, self.companions, self.reporter.note))
            except Exception as error:
                return _row(failure_of("translate", payload.id, error))
            finally:
                self.reporter.note(payload.id, ENDS)


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def _noted(call: Callable[[str], Any], shard: str) -> None:
    import ray

    ray.wait([call(shard)], timeout=1.0)


def _read_stage(batch: Any, job: Job, logs: RunLogs) -> Iterator[Any]:
    from pipeline.run.steps import read_file

    plan: FilePlan = pickle.loads(batch["payload"][0])
    with logs.recording() as log:
        try:
            for shard in read_file(job, plan):
                log.put()
                yield _row(shard)
        except Exception as error:
            yield _row(failure_of("read", plan.file.relative, error))


def _write_stage(batch: Any, jobs: Mapping[str, Job], companions: Sequence[Companion], logs: RunLogs) -> Any:
    from pipeline.sink.commit import commit

    payload: Made | Failure = pickle.loads(batch["payload"][0])
    if isinstance(payload, Failure):
        return _row([payload])
    target, job = next(iter(jobs.items()))
    with logs.recording():
        # The others first: killed in between, the shard is read again.
        done: list[Event] = [*commit_others(companions, payload)]
        with log_context(shard=payload.lead.shard, **about(target)):
            try:
                done.append(commit(job, payload.lead))
            except Exception as error:
                done.append(failure_of("write", payload.lead.shard, error))
    return _row(done)


def _row(payload: Any) -> dict[str, Any]:
    # Pickle between our own processes of one job; nothing from the data is ever unpickled.
    return {"payload": [pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)]}


def run_graph(
    jobs: Mapping[str, Job],
    companions: Sequence[Companion],
    files: Sequence[FilePlan],
    workers: tuple[int, int],
    activity: Any,
    logs: RunLogs,
) -> Iterator[Event]:
    """Run the graph over these files; receipts and failures come as they happen, in any order.

    Args:
        jobs: by target, the one that leads before those of the companions.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    context.print_on_execution_start = False
    # Every row becomes a block of its own.
    context.target_max_block_size = 1
    job = next(iter(jobs.values()))
    compute = job.spec.compute
    rows = [{"payload": pickle.dumps(each)} for each in units_of(files, job.source_format, workers[1])]
    pool = (
        ActorPoolStrategy(size=workers[0], max_concurrent_calls_per_actor=2, enable_true_multi_threading=True)
        if workers[0] == workers[1]
        else ActorPoolStrategy(
            min_size=workers[0],
            max_size=workers[1],
            max_concurrent_calls_per_actor=2,
            enable_true_multi_threading=True,
        )
    )
    # Each task that runs beside others is a process, which takes seconds of CPU to start and 140 MiB to keep. Without
    # a bound Ray starts, ends and starts them as shards come and go: 4 times slower on two cores, and more memory for
    # more source files.
    beside = TaskPoolStrategy(size=workers[1])
    # max_restarts and max_task_retries have no named parameter yet; the package is pinned below their removal.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    # One source file cannot occupy several readers; its shards still occupy several actors.
    warnings.filterwarnings("ignore", message="The (minimum|maximum) number of concurrent (actors|tasks)")
    dataset = (
        ray.data.from_items(rows, override_num_blocks=len(rows))
        .map_batches(
            partial(_read_stage, job=job, logs=logs),
            batch_size=1,
            num_cpus=READ_CPUS,
            batch_format="numpy",
            compute=beside,
        )
        .map_batches(
            _TranslateStage,
            fn_constructor_args=(jobs, companions, activity, logs),
            batch_size=1,
            batch_format="numpy",
            compute=pool,
            num_cpus=compute.cpus,
            num_gpus=compute.gpus or None,
            max_restarts=-1,
            max_task_retries=compute.max_attempts - 1,
        )
        .map_batches(
            partial(_write_stage, jobs=jobs, companions=companions, logs=logs),
            batch_size=1,
            num_cpus=WRITE_CPUS,
            batch_format="numpy",
            compute=beside,
        )
    )
    for batch in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
        yield from pickle.loads(cast("Any", batch)["payload"][0])
