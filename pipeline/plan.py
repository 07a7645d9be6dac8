"""What there is to do: source files, what of them is committed, what is left. Reads names and footers, no images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from methods.counting import counted, does
from methods.errors import InputError, first_line
from pipeline.findings import Finding, merge
from pipeline.job import Job
from pipeline.labels.source import tables_of
from pipeline.map_ahead import map_ahead
from pipeline.paths import INDEX, PLAN_FILE, part_path
from pipeline.records import Rejection, SourceFile
from pipeline.sink.index import name_of_shard
from pipeline.sink.note import PartNote, read_note
from pipeline.sink.parquet import parquet_bytes
from pipeline.small_parquet import read_small_parquet
from pipeline.sources.versions import versioned
from pipeline.storage import Store
from pipeline.uris import printable, redact

_SCHEMA = pa.schema(
    [
        ("relative", pa.string()),
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("samples", pa.int64()),
        ("shards", pa.int32()),
        ("members", pa.list_(pa.string())),
        ("version", pa.string()),
        ("damaged", pa.bool_()),
        ("generation", pa.int32()),
    ]
)


@dataclass(frozen=True)
class FilePlan:
    """One source file: the parts that are committed, and how many shards it has once that is known.

    ``poison`` holds, by part and by place in the shard, samples that were found to kill their process. ``damaged`` says
    that the file could not be read to its end: its last shard is made again by the next run. ``turn`` is (n, of how
    many) of a file that several readers share: this one takes part n and every so-many-th after it. ``only`` names the
    parts to be read, where that is not all that are missing.
    """

    file: SourceFile
    done: frozenset[int] = frozenset()
    shards: int | None = None
    poison: Mapping[int, Mapping[int, Rejection]] = field(default_factory=dict)
    damaged: bool = False
    turn: tuple[int, int] = (0, 1)
    only: frozenset[int] | None = None

    def wants(self, part: int) -> bool:
        """Whether a part of the file is still to be made, by this reader."""
        mine = part % self.turn[1] == self.turn[0] and (self.only is None or part in self.only)
        return mine and part not in self.done

    @property
    def complete(self) -> bool:
        """Whether every shard has its index part."""
        return self.shards is not None and self.done >= frozenset(range(self.shards))


@dataclass(frozen=True)
class Plan:
    """All source files of a job, sorted, with what is done.

    ``changed`` names the files that are not the ones any more that their shards were made from; ``outdated`` the shards
    that are committed and have to be made again; ``findings`` say what of the source is not read. ``gone`` names what
    is not in the source any more: source files that shards were made of, and loose images; their shards stay.
    ``relabelled`` says that the label source has changed since shards were committed.
    """

    files: tuple[FilePlan, ...]
    changed: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    gone: tuple[str, ...] = ()
    relabelled: bool = False

    @property
    def pending(self) -> tuple[FilePlan, ...]:
        """The files that still have shards to be made."""
        return tuple(each for each in self.files if not each.complete)

    @property
    def committed(self) -> int:
        """Shards that have their index part."""
        return sum(len(each.done) for each in self.files)

    def notes(self) -> list[str]:
        """What a person is to know of a source that is not what it was, one line each."""
        lines = []
        if self.relabelled and self.committed:
            lines.append(
                "the label source has changed, or was written anew, since shards were committed: they keep the labels "
                "that they were made with; --fresh makes them anew"
            )
        if not self.gone:
            return lines
        names = ", ".join(map(printable, self.gone[:3])) + (", ..." if len(self.gone) > 3 else "")
        return [
            *lines,
            f"{counted(len(self.gone), 'file')} of earlier runs {does(len(self.gone), 'is/are')} not in the source "
            f"any more ({names}); what was made of it stays in the output, which --fresh begins anew",
        ]


def committed_parts(store: Store) -> dict[str, set[int]]:
    """Committed parts by shard stem, from one listing."""
    parts: dict[str, set[int]] = {}
    for entry in store.list(INDEX):
        name = entry.path.removeprefix(f"{INDEX}/")
        stem, dash, part = name.removesuffix(".parquet").rpartition("-")
        if name.endswith(".parquet") and dash and part.isdigit():
            parts.setdefault(stem, set()).add(int(part))
    return parts


def make_plan(job: Job, *, fresh: bool = False) -> Plan:
    """List the source and the output. Touches nothing.

    Groups of loose images that an earlier run has fixed stay as they are; new images form new groups. What an earlier
    run planned and ``source.modified_after`` passes over stays as it was recorded. With ``fresh`` the plan is made as
    if the output were empty.
    """
    recorded = {} if fresh else {row.file.relative: row for row in read_plan(job.store)}
    known = tuple(row.file for row in recorded.values()) if job.source_format == "folder" else ()
    survey = job.source(known).survey()
    files = versioned(survey.files, job.spec.source.storage)
    # Asked again, because one wrong answer of a store or a cache before it would cost the shards of a file.
    differing = [file for file in files if file.relative in recorded and is_changed(recorded[file.relative].file, file)]
    again = {file.relative: file for file in versioned(differing, job.spec.source.storage)}
    files = [again.get(file.relative, file) for file in files]
    files += [recorded[name].file for name in survey.passed_over & recorded.keys()]
    files.sort(key=lambda file: file.relative)
    parts = {} if fresh else committed_parts(job.store)
    changed: list[str] = []
    outdated: list[str] = []
    plans: list[FilePlan] = []
    for file in files:
        file = replace(file, generation=job.generation)
        before = recorded.get(file.relative)
        done = frozenset(parts.get(file.shard_stem, ()))
        remade: frozenset[int] = frozenset()
        if before is not None and is_changed(before.file, file):
            changed.append(redact(file.uri))
            before, remade = None, done
        elif before is not None and before.damaged:
            before, remade = replace(before, shards=None), frozenset([max(done)] if done else [])
        outdated += [file.shard_id(part) for part in sorted(remade)]
        if file.samples is None and before is not None:
            file = replace(file, samples=before.file.samples)
        plans.append(FilePlan(file, done - remade, _shards(job, file, before)))
    unsure = [n for n, each in enumerate(plans) if each.shards is None and each.done]
    with ThreadPoolExecutor(16) as pool:
        notes = pool.map(lambda n: _last_note(job.store, plans[n]), unsure)
        for n, note in zip(unsure, notes, strict=True):
            if note is None or (note.last and note.damaged):
                last = max(plans[n].done)
                outdated.append(plans[n].file.shard_id(last))
                plans[n] = replace(plans[n], done=plans[n].done - {last})
            elif note.last:
                plans[n] = replace(plans[n], shards=note.part + 1)
    unseen = sorted(survey.passed_over - recorded.keys())
    reason = "last changed before source.modified_after, and no run has translated it"
    older = [Finding("file", "age", reason, len(unseen), tuple(unseen[:3]))] if unseen else []
    findings = merge(survey.findings, job.layout.findings(), older)
    gone = [*sorted(survey.gone), *_gone(job, plans, parts, recorded)]
    relabelled = not fresh and job.label_table is not None and bool({*tables_of(job.store)} - {job.label_table})
    return Plan(tuple(plans), tuple(changed), tuple(outdated), findings, tuple(gone), relabelled)


def _gone(
    job: Job, plans: Sequence[FilePlan], parts: Mapping[str, Collection[int]], recorded: Mapping[str, FilePlan]
) -> list[str]:
    """Source files that have committed shards in this output and are in no plan any more: names, or stems of shards."""
    stems = {each.file.shard_stem for each in plans}
    names = {replace(row.file, generation=job.generation).shard_stem: name for name, row in recorded.items()}
    gone = []
    for stem in sorted(parts.keys() - stems):
        found = name_of_shard(f"{stem}-0000.parquet")
        if found is not None and found[1] == job.generation:
            gone.append(names.get(stem, stem))
    return gone


def is_changed(before: SourceFile, now: SourceFile, *, gone: bool = False) -> bool:
    """Whether a source file is not the one any more that an earlier plan had.

    Loose images that are gone change nothing: what was made of them stays. ``gone`` says that no version means that the
    file is not there, rather than that its store has none.
    """
    if gone and before.version and not now.version:
        return True
    if not before.version or not now.version:
        return not now.members and before.size != now.size
    if not now.members:
        return before.version != now.version
    pairs = zip(before.version.split(","), now.version.split(","), strict=False)
    return any(new and old != new for old, new in pairs)


def _shards(job: Job, file: SourceFile, before: FilePlan | None) -> int | None:
    if before is not None and before.shards is not None:
        return before.shards
    if job.source_format == "folder":
        return 1
    return None


def _last_note(store: Store, plan: FilePlan) -> PartNote | None:
    """The note of the last committed part; ``None`` where that part is damaged."""
    data = store.read_or_none(part_path(plan.file.shard_id(max(plan.done))))
    try:
        return None if data is None else read_note(data)
    except Exception:
        return None


def read_plan(store: Store) -> list[FilePlan]:
    """The plan that an earlier run recorded; empty for a fresh output. Raises InputError for a damaged one."""
    data = store.read_or_none(PLAN_FILE)
    if data is None:
        return []
    try:
        return [_recorded(row) for row in read_small_parquet(data).to_pylist()]
    except Exception as error:
        raise InputError(
            f"{store.uri(PLAN_FILE)}: damaged ({first_line(error)}); delete it and run again, or begin anew by --fresh"
        ) from None


def _recorded(row: Mapping[str, Any]) -> FilePlan:
    file = SourceFile(
        uri=_name(row["uri"]),
        relative=_name(row["relative"]),
        size=row["size"],
        samples=row["samples"],
        members=tuple(map(_name, row["members"] or ())),
        version=row.get("version") or "",
        generation=row.get("generation") or 1,
    )
    return FilePlan(file, shards=row["shards"], damaged=bool(row.get("damaged")))


def _text(name: str) -> str:
    """A file name as text that Arrow takes: one that is no UTF-8 as a backslash and its bytes in hexadecimal."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "\\" + name.encode("utf-8", "surrogateescape").hex()
    return name if not name.startswith("\\") else "\\" + name.encode().hex()


def _name(text: str) -> str:
    return bytes.fromhex(text[1:]).decode("utf-8", "surrogateescape") if text.startswith("\\") else text


def write_plan(store: Store, files: Iterable[FilePlan]) -> None:
    """Record the plan: what fixes the groups of loose images, and lets a finished job be recognised quickly."""
    rows = [
        {
            "relative": _text(each.file.relative),
            "uri": _text(redact(each.file.uri)),
            "size": each.file.size,
            "samples": each.file.samples,
            "shards": each.shards,
            "members": list(map(_text, each.file.members)),
            "version": each.file.version,
            "damaged": each.damaged,
            "generation": each.file.generation,
        }
        for each in files
    ]
    store.put(PLAN_FILE, parquet_bytes(pa.Table.from_pylist(rows, schema=_SCHEMA)))


def refresh(job: Job, files: Sequence[FilePlan]) -> tuple[FilePlan, ...]:
    """The same files with what is committed by now."""
    parts = committed_parts(job.store)
    known = [replace(each, done=frozenset(parts.get(each.file.shard_stem, ()))) for each in files]

    def with_end(each: FilePlan) -> FilePlan:
        note = _last_note(job.store, each) if each.shards is None and each.done else None
        return replace(each, shards=note.part + 1, damaged=note.damaged) if note is not None and note.last else each

    return tuple(fresh for _, fresh in map_ahead(with_end, known))
