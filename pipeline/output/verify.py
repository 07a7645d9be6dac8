"""Checking an output: every commit, picture and count, against each other. Reads everything, writes nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from methods.counting import counted
from methods.errors import BadSample, InputError, first_line
from pipeline import codec
from pipeline.job_record import JobRecord, stored_job
from pipeline.labels.record import to_record
from pipeline.map_ahead import map_ahead
from pipeline.output.duplicates import DuplicateFinder, digest
from pipeline.output.summary import RowCounts
from pipeline.output.view import read_view
from pipeline.paths import DATA, INDEX, JOB_FILE, MERGED_INDEX, METRICS_FILE, SUCCESS_FILE, data_path, part_path
from pipeline.plan import read_plan
from pipeline.records import SourceFile
from pipeline.sink.files import to_path
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.note import PartNote, read_note
from pipeline.sink.webdataset import member_stem, tar_names
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.storage import Entry, Store, redact

Watch = Callable[[int, int], None]
"""Called with (parts checked, parts in all) after each part."""

_MOST_PROBLEMS = 200
_MOST_OF_A_PART = 5
_STATUSES = ("ok", "filtered", "rejected")
_REMEDY = f"delete {SUCCESS_FILE} and run the job again, which writes it anew"


@dataclass
class Verdict:
    """What was found.

    Attributes:
        parts: index parts, which is committed shards.
        rows, ok, filtered, rejected: rows of the parts.
        problems: what is wrong, one sentence each, the first two hundred; the output is sound when there is none.
        problem_count: how many there are in all.
        orphans: data files that no index part commits. Of an unfinished job they are harmless: a run overwrites them.
        merged: whether ``index.parquet`` says the same as the parts; ``None`` where there is none.
    """

    parts: int = 0
    rows: int = 0
    ok: int = 0
    filtered: int = 0
    rejected: int = 0
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    orphans: list[str] = field(default_factory=list)
    merged: bool | None = None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem_count

    def blame(self, problem: str) -> None:
        """Note something that is wrong."""
        self.problem_count += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


@dataclass
class _Part:
    """What one index part and its data file gave; ``kept`` are its ok rows as the output's filter sees them."""

    note: PartNote | None = None
    kept: int = 0
    problems: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    checksum: int = 0


def verify(store: Store, *, decode: bool = True, watch: Watch = lambda done, total: None) -> Verdict:
    """Check an output. Memory is bounded by the shards in hand, not by the dataset.

    Args:
        decode: also decode every picture and compare its size; without, its checksum must do.
        watch: called after every part.

    Raises:
        InputError: there is no output of ours here, or it cannot be reached.
    """
    job = stored_job(store)
    if job is None:
        raise InputError(f"{redact(store.uri())}: no sceneshift output here (no {JOB_FILE}); check the path")
    verdict = Verdict()
    parts = list_parts(store)
    data = {entry.path: entry.size for entry in store.list(DATA)}
    finished = store.exists(SUCCESS_FILE)
    checker = _Checker(store, job, data, decode)
    checksum = 0
    shards: set[str] = set()
    with DuplicateFinder() as seen:
        threads = min(8, 2 * (os.cpu_count() or 1))
        for done, (entry, part) in enumerate(map_ahead(checker.part, parts, threads), start=1):
            for problem in part.problems:
                verdict.blame(problem)
            _count(verdict, part)
            checksum = (checksum + part.checksum) % (1 << 128)
            seen.add(part.keys)
            shards.add(_shard(entry.path))
            watch(done, len(parts))
        _name_twice(store, parts, seen.duplicates(), verdict)
    verdict.orphans = [path for path in data if _shard(path) not in shards]
    _check_summaries(store, verdict, checksum, finished)
    if finished:
        for path in verdict.orphans:
            verdict.blame(f"{path}: no index part commits this data file, though the job is finished")
        for shard in _lost(store, shards):
            verdict.blame(f"{part_path(shard)}: is missing, though the job is finished")
    return verdict


def _count(verdict: Verdict, part: _Part) -> None:
    verdict.parts += 1
    note = part.note
    if note is not None:
        verdict.rows += note.attempted
        verdict.ok += part.kept
        verdict.filtered += note.filtered + note.ok - part.kept
        verdict.rejected += note.rejected


def _shard(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _sample_name(key: str, variant: int) -> str:
    return f"{key}\0{variant}"


def _name_twice(store: Store, parts: Sequence[Entry], twice: set[bytes], verdict: Verdict) -> None:
    """Say which samples are ok twice, which takes a second look at the parts."""
    left = {value: [] for value in twice}
    for entry in parts if twice else ():
        try:
            table = read_small_parquet(store.read(entry.path), columns=["key", "variant", "status"])
        except (InputError, pa.ArrowException):
            continue  # has been said
        for row in rows_with(table, "status", "ok").to_pylist():
            value = digest(_sample_name(row["key"], row["variant"]))
            if value in left:
                left[value].append((row["key"], row["variant"], _shard(entry.path)))
    for places in left.values():
        key, variant, _ = places[0]
        where = ", ".join(shard for _, _, shard in places)
        verdict.blame(f"sample '{key}'{f' variant {variant}' if variant else ''} is ok more than once: in {where}")


_SHARED = ("key", "variant", "width", "height", "caption", "labels", "labels_raw")
"""Columns that data files and the index have in common."""


class _Checker:
    """Checks one part with its data file; called from several threads."""

    def __init__(self, store: Store, job: JobRecord, data: Mapping[str, int], decode: bool) -> None:
        self.store, self.data, self.decode = store, data, decode
        self.fingerprint, self.generation = job.fingerprint, job.generation
        self.format, self.suffix = job.spec.output.format, job.spec.output.image.suffix
        self.record = tar_names(job.layout, self.suffix).record
        self.variants = job.spec.variants
        self.view = read_view(store, job.metric_columns)

    def part(self, entry: Entry) -> _Part:
        """Everything about one committed shard."""
        part = _Part()
        try:
            data = self.store.read(entry.path)
            part.note, table = read_note(data), read_part(data)
        except InputError as error:
            part.problems.append(str(error))
            return part
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            part.problems.append(f"{entry.path}: not a readable index part ({first_line(error)})")
            return part
        found = [*self._note(entry.path, part.note, table)]
        rows = rows_with(table, "status", "ok")
        part.keys = [
            _sample_name(key, variant)
            for key, variant in zip(rows["key"].to_pylist(), rows["variant"].to_pylist(), strict=True)
        ]
        seen = table if self.view is None else self.view.apply(table)
        part.checksum, part.kept = _checksum(seen), rows_with(seen, "status", "ok").num_rows
        path = data_path(part.note.shard, self.format)
        try:
            found += self._data(path, rows)
        except InputError as error:
            found.append(str(error))
        except (pa.ArrowException, tarfile.TarError, KeyError, ValueError, EOFError) as error:
            found.append(f"{path}: cannot be read ({first_line(error)})")
        part.problems = found[:_MOST_OF_A_PART]
        if len(found) > _MOST_OF_A_PART:
            part.problems.append(
                f"{entry.path}: and {counted(len(found) - _MOST_OF_A_PART, 'more problem')} of this shard"
            )
        return part

    def _note(self, path: str, note: PartNote, table: pa.Table) -> Iterator[str]:
        if note.shard != _shard(path):
            yield f"{path}: its note is of another shard ({note.shard})"
        elif SourceFile("", note.source, generation=self.generation).shard_id(note.part) != note.shard:
            yield f"{path}: part {note.part} of {note.source} has another name"
        statuses = table["status"].to_pylist()
        counts = {status: statuses.count(status) for status in _STATUSES}
        if counts != {"ok": note.ok, "filtered": note.filtered, "rejected": note.rejected}:
            said = f"{note.ok} ok, {note.filtered} filtered, {note.rejected} rejected"
            yield f"{path}: its note counts {said}; its rows do not"
        if sum(counts.values()) != len(statuses):
            yield f"{path}: rows with a status that is none of {', '.join(_STATUSES)}"
        if any(shard != note.shard for shard in table["shard"].unique().to_pylist()):
            yield f"{path}: rows of another shard"
        if {note.fingerprint, *table["fingerprint"].unique().to_pylist()} != {self.fingerprint}:
            yield f"{path}: fingerprint of another job"

    def _data(self, path: str, rows: pa.Table) -> Iterator[str]:
        if not rows.num_rows:
            if path in self.data:
                yield f"{path}: a data file, though no sample of the shard is ok"
            return
        if path not in self.data:
            yield f"{path}: is missing"
            return
        check = self._tar if self.format == "webdataset" else self._parquet
        yield from check(path, self.store.read(path), rows)

    def _parquet(self, path: str, data: bytes, rows: pa.Table) -> Iterator[str]:
        file = pq.ParquetFile(io.BytesIO(data))
        if file.metadata.num_rows != rows.num_rows:
            yield f"{path}: {counted(file.metadata.num_rows, 'row')}, the index has {rows.num_rows}"
            return
        rows = rows.sort_by("row")
        if rows["row"].to_pylist() != list(range(rows.num_rows)):
            yield f"{path}: the index does not name each of its rows once"
            return
        shared = [name for name in _SHARED if name in rows.schema.names]
        stored = file.read(columns=shared, use_threads=False)
        for name in shared:
            if not _equal(stored[name], rows[name]):
                yield f"{path}: column '{name}' is not what the index says"
        start = 0
        for batch in file.iter_batches(batch_size=16, columns=["image"], use_threads=False):
            images = [self._content(path, image) for image in batch.column("image").to_pylist()]
            for image, row in zip(images, rows.slice(start, len(images)).to_pylist(), strict=True):
                yield from self._picture(path, image, row)
            start += len(images)

    def _content(self, path: str, image: bytes | str | None) -> bytes | None:
        """The picture itself, where the data file names a loose one; ``None`` where that is missing."""
        return self.store.read_or_none(to_path(path, image)) if isinstance(image, str) else image

    def _tar(self, path: str, data: bytes, rows: pa.Table) -> Iterator[str]:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = {member.name: member for member in archive}
        strangers = {_stem(name) for name in members}
        for row in rows.to_pylist():
            stem = member_stem(row["key"], row["variant"], self.variants)
            strangers.discard(stem)
            picture, description = members.get(f"{stem}.{self.suffix}"), members.get(f"{stem}.{self.record}")
            if picture is None or description is None:
                yield f"{path}: sample '{row['key']}' is missing"
                continue
            if (picture.offset_data, picture.size) != (row["offset"], row["size"]):
                yield f"{path}: the picture of '{row['key']}' is not at the offset that the index says"
            yield from self._picture(path, _slice(data, picture), row)
            tree = json.loads(_slice(data, description))
            if (tree["key"], tree["variant"]) != (row["key"], row["variant"]):
                yield f"{path}: the description of '{row['key']}' is of another sample"
            if tree.get("annotations") != (to_record(row["labels"])["annotations"] if row["labels"] else None):
                yield f"{path}: the labels of '{row['key']}' are not what the index says"
        for stem in sorted(strangers):
            yield f"{path}: holds a sample '{stem}' that the index does not have"

    def _picture(self, path: str, image: bytes | None, row: Mapping[str, Any]) -> Iterator[str]:
        if image is None or hashlib.sha256(image).hexdigest() != row["sha256"]:
            yield f"{path}: the picture of '{row['key']}' does not have the checksum of the index"
            return
        if self.decode:
            try:
                height, width = codec.decode(image).pixels.shape[:2]
            except BadSample as error:
                yield f"{path}: the picture of '{row['key']}' cannot be decoded ({error})"
                return
            if (width, height) != (row["width"], row["height"]):
                said = f"{row['width']}x{row['height']}"
                yield f"{path}: the picture of '{row['key']}' is {width}x{height}, the index says {said}"


def _stem(name: str) -> str:
    """What the members of one sample have in common: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _slice(data: bytes, member: tarfile.TarInfo) -> bytes:
    return data[member.offset_data : member.offset_data + member.size]


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    # Arrow says that nan is not nan.
    return one.equals(other) or str(one.to_pylist()) == str(other.to_pylist())


def _checksum(table: pa.Table) -> int:
    """A number that stands for the rows of a table in any order."""
    rows = (
        json.dumps(row, sort_keys=True) for batch in table.to_batches(max_chunksize=256) for row in batch.to_pylist()
    )
    return sum(int.from_bytes(digest(row), "little") for row in rows) % (1 << 128)


def _check_summaries(store: Store, verdict: Verdict, checksum: int, finished: bool) -> None:
    """``index.parquet``, ``metrics.json`` and ``success.json`` against what the parts have given.

    Of an unfinished job they may be older than the parts.
    """
    if not finished:
        return
    if store.exists(MERGED_INDEX):
        verdict.merged = _merged_agrees(store, checksum)
        if not verdict.merged:
            verdict.blame(f"{MERGED_INDEX}: does not say the same as the parts in {INDEX}/; {_REMEDY}")
    elif verdict.rows and _was_merged(store):
        verdict.blame(f"{MERGED_INDEX}: is missing; {_REMEDY}")
    counts = RowCounts(verdict.rows, verdict.ok, verdict.filtered, verdict.rejected)
    for name in (METRICS_FILE, SUCCESS_FILE):
        try:
            rows = RowCounts(**json.loads(store.read(name))["rows"])
        except (InputError, ValueError, KeyError, TypeError):
            verdict.blame(f"{name}: is missing or cannot be read; {_REMEDY}")
            continue
        if rows != counts:
            verdict.blame(f"{name}: its counts are not those of the index parts; {_REMEDY}")


def _was_merged(store: Store) -> bool:
    """Whether the summaries were made with a merged index: without, keys that occur twice are not counted."""
    try:
        return json.loads(store.read(METRICS_FILE))["duplicate_keys"] is not None
    except (InputError, ValueError, KeyError, TypeError):
        return False


def _merged_agrees(store: Store, checksum: int) -> bool:
    """Whether ``index.parquet`` has the rows of the parts, each once, sorted."""
    total, before = 0, ("", -1, "")
    try:
        with store.open(MERGED_INDEX) as raw:
            for batch in pq.ParquetFile(raw).iter_batches(batch_size=1024, use_threads=False):
                table = pa.Table.from_batches([batch])
                total = (total + _checksum(table)) % (1 << 128)
                columns = (table[name].to_pylist() for name in ("key", "variant", "shard"))
                for this in zip(*columns, strict=True):
                    if this < before:
                        return False
                    before = this
    except (pa.ArrowException, KeyError, OSError):
        return False
    return total == checksum


def _lost(store: Store, shards: set[str]) -> Iterator[str]:
    """Shards that the recorded plan has and the index has not."""
    for plan in read_plan(store):
        for part in range(plan.shards or 0):
            if (shard := plan.file.shard_id(part)) not in shards:
                yield shard
