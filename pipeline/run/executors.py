"""Where the work of a run happens: in this process, or on a Ray cluster. Both make the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from pipeline.job import Job
from pipeline.logs.context import in_context
from pipeline.logs.run import RunLogs
from pipeline.plan import FilePlan
from pipeline.records import Receipt, Shard, Translated
from pipeline.run.activity import ENDS, Activity
from pipeline.run.cluster import open_cluster
from pipeline.run.counters import Counters
from pipeline.run.steps import Failure, failure_of


class Executor(Protocol):
    """What the driver needs of a place to work.

    Attributes:
        where: the place, for a person.
        workers: the most there will be.
    """

    where: str
    workers: int

    job: Job

    def work(self, files: Sequence[FilePlan]) -> Iterator[Receipt | Failure]:
        """Make the missing shards of these files; receipts and failures as they happen."""
        ...

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """(worker, shard, what, seconds) of whatever is being worked on."""
        ...

    def losses(self) -> tuple[list[tuple[str, str, str]], Mapping[str, bool]]:
        """After a round: (shard, worker, node) of what was begun and not ended, and which nodes are there."""
        ...

    def isolate(
        self, plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], say: Callable[[str], None]
    ) -> tuple[FilePlan, ...]:
        """The plans with the samples of suspect parts, by file, that kill their process noted as poison."""
        ...

    def check_alive(self) -> None:
        """Raise JobFailed when what the work runs on is gone."""
        ...

    def lend(self, job: Job) -> None:
        """The job as it may write, under a lease; the same work as the one this was made for."""
        ...

    def close(self) -> None:
        """Give back what was taken."""
        ...


class LocalExecutor:
    """Works through files in this process.

    While a shard is translated, the next one is read and the last one is committed.
    """

    where = "in this process"
    workers = 1

    def __init__(self, job: Job) -> None:
        from pipeline.translate.translator import Translator

        self.job = job
        self.activity = Activity()
        # Built at once: weights that do not fit are found before anything is written.
        self.translator = Translator(job)
        self._failed: set[str] = set()
        self._closed = False

    def work(self, files: Iterable[FilePlan]) -> Iterator[Receipt | Failure]:
        """One file after the other; nothing more of a file that failed."""
        self._failed.clear()
        shards = self._shards(files)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            take = in_context(lambda: next(shards, None))
            following = reader.submit(take)
            written: Future[Receipt | Failure] | None = None
            while (shard := following.result()) is not None:
                following = reader.submit(take)
                if isinstance(shard, Shard) and shard.source in self._failed:
                    continue
                made = shard if isinstance(shard, Failure) else self._translated(shard)
                if written is not None:
                    yield written.result()
                if isinstance(made, Failure):
                    written = None
                    yield made
                else:
                    written = writer.submit(in_context(self._committed), made)
            if written is not None:
                yield written.result()

    def _shards(self, files: Iterable[FilePlan]) -> Iterator[Shard | Failure]:
        from pipeline.run.steps import read_file

        for plan in files:
            try:
                for shard in read_file(self.job, plan):
                    if self._closed or shard.source in self._failed:
                        break
                    yield shard
            except Exception as error:
                yield self._failure("read", plan.file.relative, error)

    def _translated(self, shard: Shard) -> Translated | Failure:
        from pipeline.translate.shard import translate_shard

        try:
            return translate_shard(
                self.translator, shard, lambda shard, what: self.activity.write("local", shard, what)
            )
        except Exception as error:
            return self._failure("translate", shard.source, error)
        finally:
            self.activity.write("local", shard.id, ENDS)

    def _committed(self, translated: Translated) -> Receipt | Failure:
        from pipeline.sink.commit import commit

        try:
            return commit(self.job, translated)
        except Exception as error:
            return self._failure("write", translated.source, error)

    def _failure(self, stage: str, file: str, error: Exception) -> Failure:
        self._failed.add(file)
        if self._closed:
            # Nobody waits for it any more; what was stopped in the middle is no fault to be reported.
            return Failure(file, "stopped")
        return failure_of(stage, file, error)

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """The one shard in hand."""
        return self.activity.read()

    def losses(self) -> tuple[list[tuple[str, str, str]], Mapping[str, bool]]:
        """None that this process would live to see."""
        return [], {}

    def isolate(
        self, plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], say: Callable[[str], None]
    ) -> tuple[FilePlan, ...]:
        """Nothing to isolate: what kills this process ends the run."""
        return tuple(plans)

    def check_alive(self) -> None:
        """This process is alive."""

    def lend(self, job: Job) -> None:
        """What is committed from now on is committed under this job's lease."""
        self.job = job

    def close(self) -> None:
        """Stop the translator's threads."""
        self._closed = True
        self.translator.close()


class RayExecutor:
    """Works through files on a Ray cluster."""

    def __init__(self, job: Job, logs: RunLogs) -> None:
        from pipeline.run import graph
        from pipeline.run.prefetch import prefetch

        self.job, self.logs = job, logs
        self._counters: Counters | None = None
        demand = graph.demand_of(job)
        self.cluster = open_cluster(demand)
        self.where, self.workers = self.cluster.where, self.cluster.workers[1]
        try:
            prefetch(job.weights_by_uri, demand)
            self.activity = graph.make_activity()
        except BaseException:
            self.cluster.close()
            raise

    def work(self, files: Sequence[FilePlan]) -> Iterator[Receipt | Failure]:
        """All files at once, spread over the workers."""
        from pipeline.run.graph import run_graph

        if self._counters is None:
            self._counters = Counters(self.job, self.hanging)
        for event in run_graph(self.job, files, self.cluster.workers, self.activity, self.logs):
            if isinstance(event, Receipt):
                self._counters.add(event)
            yield event

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """What the workers said last, read from the activity actor's own process."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(self.activity.read.remote(), timeout=10)
        except RayError:
            return []

    def losses(self) -> tuple[list[tuple[str, str, str]], Mapping[str, bool]]:
        """As the activity record has it, and Ray's list of nodes."""
        import ray
        from ray.exceptions import RayError

        try:
            found = ray.get(self.activity.take_unended.remote(), timeout=60)
        except RayError:
            # The record was on a node that is gone: nothing is known, so nobody is suspected.
            return [], {}
        return found, {node["NodeID"]: bool(node["Alive"]) for node in ray.nodes()}

    def isolate(
        self, plans: Sequence[FilePlan], suspects: Mapping[str, Sequence[int]], say: Callable[[str], None]
    ) -> tuple[FilePlan, ...]:
        """Walk through the suspects in processes that may die, as many at a time as there are workers."""
        from pipeline.run.isolate import find_poison
        from pipeline.run.ray_probes import RayProbes

        return find_poison(plans, suspects, RayProbes(self.job, self.workers), say)

    def check_alive(self) -> None:
        """Raise JobFailed when the node's own processes are gone, if the cluster was started here."""
        self.cluster.check_node()

    def lend(self, job: Job) -> None:
        """What is committed from now on is committed under this job's lease."""
        self.job = job

    def close(self) -> None:
        """End a cluster that was started here, leave one that was not."""
        self.cluster.close()
