"""Where the work of a run happens: in this process, or on a Ray cluster. Both make the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.job import Job
from pipeline.logs.run import RunLogs
from pipeline.plan import FilePlan
from pipeline.records import Receipt
from pipeline.run.activity import ENDS, Activity
from pipeline.run.cluster import open_cluster
from pipeline.run.counters import Counters
from pipeline.run.steps import Failure, failure_of


class Executor(Protocol):
    """What the driver needs of a place to work; ``where`` names it for a person."""

    where: str

    job: Job

    def work(self, files: Sequence[FilePlan]) -> Iterator[Receipt | Failure]:
        """Make the missing shards of these files; receipts and failures as they happen."""
        ...

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """(worker, shard, what, seconds) of whatever is being worked on."""
        ...

    def isolate(self, plan: FilePlan) -> FilePlan:
        """The plan with the samples that kill their process noted as poison."""
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
    """Works through files in this process."""

    where = "in this process"

    def __init__(self, job: Job) -> None:
        from pipeline.translate.translator import Translator

        self.job = job
        self.activity = Activity()
        # Built at once: weights that do not fit are found before anything is written.
        self.translator = Translator(job)

    def work(self, files: Sequence[FilePlan]) -> Iterator[Receipt | Failure]:
        """One file after the other."""
        from pipeline.run.steps import read_file
        from pipeline.sink.commit import commit
        from pipeline.translate.shard import translate_shard

        for plan in files:
            name, stage = plan.file.relative, "read"
            try:
                for shard in read_file(self.job, plan):
                    stage = "translate"
                    translated = translate_shard(
                        self.translator, shard, lambda shard, what: self.activity.write("local", shard, what)
                    )
                    self.activity.write("local", shard.id, ENDS)
                    stage = "write"
                    receipt = commit(self.job, translated)
                    stage = "read"
                    yield receipt
            except Exception as error:
                yield failure_of(stage, name, error)

    def hanging(self) -> list[tuple[str, str, str, float]]:
        """The one shard in hand."""
        return self.activity.read()

    def isolate(self, plan: FilePlan) -> FilePlan:
        """Nothing to isolate: what kills this process ends the run."""
        return plan

    def check_alive(self) -> None:
        """This process is alive."""

    def lend(self, job: Job) -> None:
        """What is committed from now on is committed under this job's lease."""
        self.job = job

    def close(self) -> None:
        """Stop the translator's threads."""
        self.translator.close()


class RayExecutor:
    """Works through files on a Ray cluster."""

    def __init__(self, job: Job, logs: RunLogs) -> None:
        from pipeline.run import graph

        self.job, self.logs = job, logs
        self._counters: Counters | None = None
        self.cluster = open_cluster(graph.demand_of(job))
        self.where = self.cluster.where
        try:
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

    def isolate(self, plan: FilePlan) -> FilePlan:
        """Walk through the file's unfinished shards in a process that may die."""
        from pipeline.run.isolate import find_poison

        return find_poison(self.job, plan)

    def check_alive(self) -> None:
        """Raise JobFailed when the node's own processes are gone, if the cluster was started here."""
        self.cluster.check_node()

    def lend(self, job: Job) -> None:
        """What is committed from now on is committed under this job's lease."""
        self.job = job

    def close(self) -> None:
        """End a cluster that was started here, leave one that was not."""
        self.cluster.close()
