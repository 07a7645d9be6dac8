"""What there is to do: source files, what of them is committed, what is left. Reads names and footers, no images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.job import Job
from pipeline.records import Rejection, SourceFile
from pipeline.sink.index import FOLDER, PartNote, part_path, read_note
from pipeline.sink.parquet import parquet_bytes
from pipeline.storage import Store

PLAN_FILE = "_sceneshift/plan.parquet"
_SCHEMA = pa.schema(
    [
        ("relative", pa.string()),
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("samples", pa.int64()),
        ("shards", pa.int32()),
        ("members", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class FilePlan:
    """One source file: the parts that are committed, and how many shards it has once that is known.

    ``poison`` holds, by part and by place in the shard, samples that were found to kill their process.
    """

    file: SourceFile
    done: frozenset[int] = frozenset()
    shards: int | None = None
    poison: Mapping[int, Mapping[int, Rejection]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every shard has its index part."""
        return self.shards is not None and self.done >= frozenset(range(self.shards))


@dataclass(frozen=True)
class Plan:
    """All source files of a job, sorted, with what is done."""

    files: tuple[FilePlan, ...]
    changed: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[FilePlan, ...]:
        """The files that still have shards to be made."""
        return tuple(each for each in self.files if not each.complete)

    @property
    def committed(self) -> int:
        """Shards that have their index part."""
        return sum(len(each.done) for each in self.files)


def committed_parts(store: Store) -> dict[str, set[int]]:
    """Committed parts by shard stem, from one listing."""
    parts: dict[str, set[int]] = {}
    for entry in store.list(FOLDER):
        name = entry.path.removeprefix(f"{FOLDER}/")
        stem, dash, part = name.removesuffix(".parquet").rpartition("-")
        if name.endswith(".parquet") and dash and part.isdigit():
            parts.setdefault(stem, set()).add(int(part))
    return parts


def make_plan(job: Job, *, fresh: bool = False) -> Plan:
    """List the source and the output. Touches nothing.

    Groups of loose images that an earlier run has fixed stay as they are; new images form new groups. With ``fresh``
    the plan is made as if the output were empty.
    """
    recorded = {} if fresh else {row.file.relative: row for row in read_plan(job.store)}
    known = tuple(row.file for row in recorded.values()) if job.source_format == "folder" else ()
    files = job.source(known).plan()
    parts = {} if fresh else committed_parts(job.store)
    changed = []
    plans: list[FilePlan] = []
    for file in files:
        before = recorded.get(file.relative)
        if before is not None and before.file.size != file.size and job.source_format != "folder":
            changed.append(file.uri)
        if file.samples is None and before is not None:
            file = replace(file, samples=before.file.samples)
        done = frozenset(parts.get(file.stem, ()))
        plans.append(FilePlan(file, done, _shards(job, file, before)))
    unsure = [n for n, each in enumerate(plans) if each.shards is None and each.done]
    with ThreadPoolExecutor(16) as pool:
        notes = pool.map(lambda n: _last_note(job.store, plans[n]), unsure)
        for n, note in zip(unsure, notes, strict=True):
            if note.last:
                plans[n] = replace(plans[n], shards=note.part + 1)
    return Plan(tuple(plans), tuple(changed))


def _shards(job: Job, file: SourceFile, before: FilePlan | None) -> int | None:
    if before is not None and before.shards is not None:
        return before.shards
    if job.source_format == "folder":
        return 1
    return None


def _last_note(store: Store, plan: FilePlan) -> PartNote:
    return read_note(store.read(part_path(plan.file.shard_id(max(plan.done)))))


def read_plan(store: Store) -> list[FilePlan]:
    """The plan that an earlier run recorded; empty for a fresh output."""
    data = store.read_or_none(PLAN_FILE)
    if data is None:
        return []
    return [
        FilePlan(
            SourceFile(row["uri"], row["relative"], row["size"], row["samples"], tuple(row["members"] or ())),
            shards=row["shards"],
        )
        for row in pq.read_table(io.BytesIO(data)).to_pylist()
    ]


def write_plan(store: Store, files: Iterable[FilePlan]) -> None:
    """Record the plan: what fixes the groups of loose images, and lets a finished job be recognised quickly."""
    rows = [
        {
            "relative": each.file.relative,
            "uri": each.file.uri,
            "size": each.file.size,
            "samples": each.file.samples,
            "shards": each.shards,
            "members": list(each.file.members),
        }
        for each in files
    ]
    store.put(PLAN_FILE, parquet_bytes(pa.Table.from_pylist(rows, schema=_SCHEMA)))


def refresh(job: Job, files: Sequence[FilePlan]) -> tuple[FilePlan, ...]:
    """The same files with what is committed by now."""
    parts = committed_parts(job.store)
    fresh = []
    for each in files:
        each = replace(each, done=frozenset(parts.get(each.file.stem, ())))
        if each.shards is None and each.done:
            note = _last_note(job.store, each)
            each = replace(each, shards=note.part + 1) if note.last else each
        fresh.append(each)
    return tuple(fresh)
