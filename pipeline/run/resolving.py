"""What a spec means for its output: the job, checked against what lies there, and the work that is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from methods.errors import InputError
from pipeline.fence import parse_record, read_record
from pipeline.job import Job, prepare
from pipeline.job_record import stored_job
from pipeline.paths import INDEX, JOB_FILE, PLAN_FILE
from pipeline.plan import Plan, make_plan
from pipeline.run.belongings import foreign, generations
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.uris import printable, redact


@dataclass(frozen=True)
class OutputState:
    """What of an output decides what is left to do: its record, its plan, and the commits."""

    record: bytes | None
    plan: bytes | None
    commits: tuple[str, ...]

    @classmethod
    def of(cls, store: Store) -> OutputState:
        """As the output is now."""
        store.require_bucket()
        commits = tuple(entry.path for entry in store.list(INDEX))
        return cls(store.read_or_none(JOB_FILE), store.read_or_none(PLAN_FILE), commits)

    def holds(self, now: OutputState, job: Job, plan: Plan, *, whole: bool) -> bool:
        """Whether a job and plan made of this are still right for what is found now.

        Of a ``plan`` that is not of the ``whole`` job, others may have begun and go on with the rest meanwhile.
        """
        if whole:
            return self == now
        if now.record is None:
            same = self.record is None
        else:
            record = parse_record(now.record)
            same = (record.get("fingerprint"), record.get("generation", 1)) == (job.fingerprint, job.generation)
        stems = {each.file.shard_stem for each in plan.files}
        before, after = ([c for c in each.commits if _stem(c) in stems] for each in (self, now))
        # Loose images make up groups in the order in which they are met; other files are what they are.
        return same and before == after and (job.source_format != "folder" or self.plan == now.plan)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition("-")[0]


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
    job = replace(prepare(spec, stored=stored), generation=stored.generation)
    if job.fingerprint != stored.fingerprint:
        differs = _difference(stored.model_dump(mode="json"), job.describe())
        raise InputError(
            f"{redact(store.uri())}: holds the output of another job ({differs}); "
            "use another output, or --fresh to throw the old one away"
        )
    return job, make_plan(job)


@dataclass(frozen=True)
class Resolved:
    """A spec against its output: the job, the work that is left, and what of the output both are right for."""

    job: Job
    plan: Plan
    found: OutputState

    @classmethod
    def of(cls, spec: JobSpec, *, fresh: bool = False) -> Resolved:
        """Raises InputError as :func:`resolve`."""
        found = OutputState.of(Store(spec.output.uri, spec.output.storage))
        job, plan = resolve(spec, fresh=fresh)
        return cls(job, plan, found)


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
