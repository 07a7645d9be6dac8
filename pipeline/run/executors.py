"""Where the work of a run happens: in this process, or on a Ray cluster. Both make the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from pipeline.job import Job
from pipeline.logs.context import about, in_context, log_context
from pipeline.logs.run import RunLogs
from pipeline.plan import FilePlan
from pipeline.records import Receipt, Shard
from pipeline.run.activity import ENDS, Activity
from pipeline.run.cluster import open_cluster
from pipeline.run.companion import Carried, Companion, Event, Made, commit_others
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

    def work(self, files: Sequence[FilePlan]) -> Iterator[Event]:
        """Make the missing shards of these files, and whatever of them the companions want; events as they happen."""
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

    def lend(self, job: Job, companions: Sequence[Companion] = ()) -> None:
        """The job as it may write, under a lease; the same work as the one this was made for.

        Args:
            companions: some of those whose jobs it was made for; without any, the job's own output alone is made.
        """
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

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        """``jobs`` are those of the targets by name: the first leads, the others may be its companions."""
        from pipeline.run.translators import Translators

        self.job = next(iter(jobs.values()))
        self.target = next(iter(jobs))
        self.companions: tuple[Companion, ...] = ()
        self.activity = Activity()
        # Built at once: weights that do not fit are found before anything is written.
        self.translators = Translators(jobs)
        self._failed: set[str] = set()
        self._closed = False

    def work(self, files: Iterable[FilePlan]) -> Iterator[Event]:
        """One file after the other; nothing more of a file that failed."""
        self._failed.clear()
        shards = self._shards(files)
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
            take = in_context(lambda: next(shards, None))
            following = reader.submit(take)
            written: Future[list[Event]] | None = None
            while (shard := following.result()) is not None:
                following = reader.submit(take)
                if isinstance(shard, Shard) and shard.source in self._failed:
                    continue
                made = shard if isinstance(shard, Failure) else self._translated(shard)
                if written is not None:
                    yield from written.result()
                if isinstance(made, Failure):
                    written = None
                    yield made
                else:
                    written = writer.submit(in_context(self._committed), made)
            if written is not None:
                yield from written.result()

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

    def _translated(self, shard: Shard) -> Made | Failure:
        try:
            return self.translators.translate(
                shard, self.companions, lambda shard, what: self.activity.write("local", shard, what)
            )
        except Exception as error:
            return self._failure("translate", shard.source, error)
        finally:
            self.activity.write("local", shard.id, ENDS)

    def _committed(self, made: Made) -> list[Event]:
        from pipeline.sink.commit import commit

        # The others first: killed in between, the shard is read again.
        done: list[Event] = [*commit_others(self.companions, made)]
        with log_context(**about(self.target)):
            try:
                done.append(commit(self.job, made.lead))
            except Exception as error:
                done.append(self._failure("write", made.lead.source, error))
        return done

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

    def lend(self, job: Job, companions: Sequence[Companion] = ()) -> None:
        """What is committed from now on is committed under these jobs' leases."""
        self.job, self.companions = job, tuple(companions)

    def close(self) -> None:
        """Stop the translator's threads."""
        self._closed = True
        self.translators.close()


class RayExecutor:
    """Works through files on a Ray cluster."""

    def __init__(self, jobs: Mapping[str, Job], logs: RunLogs) -> None:
        """``jobs`` are those of the targets by name: the first leads, the others may be its companions."""
        from pipeline.run import graph
        from pipeline.run.prefetch import prefetch

        self.jobs, self.logs = dict(jobs), logs
        self.target, self.job = next(iter(jobs.items()))
        self.companions: tuple[Companion, ...] = ()
        self._counters: dict[str, Counters] = {}
        demand = graph.demand_of(self.job)
        self.cluster = open_cluster(demand)
        self.where, self.workers = self.cluster.where, self.cluster.workers[1]
        try:
            prefetch({uri: known for each in jobs.values() for uri, known in each.weights_by_uri.items()}, demand)
            self.activity = graph.make_activity()
        except BaseException:
            self.cluster.close()
            raise

    def work(self, files: Sequence[FilePlan]) -> Iterator[Event]:
        """All files at once, spread over the workers."""
        from pipeline.run.graph import run_graph

        if not self._counters:
            self._counters = {name: Counters(job, self.hanging) for name, job in self.jobs.items()}
        jobs = {self.target: self.job} | {each.target: each.job for each in self.companions}
        for event in run_graph(jobs, self.companions, files, self.cluster.workers, self.activity, self.logs):
            if isinstance(event, Receipt):
                self._counters[self.target].add(event)
            elif isinstance(event, Carried):
                self._counters[event.target].add(event.receipt)
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

    def lend(self, job: Job, companions: Sequence[Companion] = ()) -> None:
        """What is committed from now on is committed under these jobs' leases."""
        self.job, self.companions = job, tuple(companions)

    def close(self) -> None:
        """End a cluster that was started here, leave one that was not."""
        self.cluster.close()
