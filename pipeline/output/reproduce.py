"""One sample again, from its row of the index and the job's record alone, compared with what is stored."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.job import Job
from pipeline.output.export.pictures import PictureReader
from pipeline.paths import part_path
from pipeline.plan import read_plan
from pipeline.records import Row, Shard
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.note import read_note
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.sources.base import only
from pipeline.storage import Store
from pipeline.uris import printable, redact

_FIND = ["key", "variant"]
_NAMES = 50_000


@dataclass(frozen=True)
class Difference:
    """Two pictures of one size compared, in grey levels: the most and the mean over all pixels and colours."""

    most: int
    mean: float


@dataclass(frozen=True)
class Reproduction:
    """What came of translating one sample again.

    Attributes:
        row: the row as it came out now.
        recorded: its row in the index.
        identical: whether the pictures have one checksum or, of a rejected sample, one stage and reason.
        difference: between the decoded pictures where they are not identical and of one size.
        whole_shard: whether all of its shard was translated with it, in the batches of the job.
    """

    row: Row
    recorded: dict[str, Any]
    identical: bool
    difference: Difference | None
    whole_shard: bool


def reproduce(job: Job, key: str, variant: int = 0, *, whole_shard: bool = False) -> Reproduction:
    """Translate one sample as the job did.

    Alone it makes a batch of one: networks then may differ by rounding from what a larger batch gave, which
    ``whole_shard`` rules out by translating all of its shard.

    Raises:
        InputError: no such key, or its source is gone or has changed.
    """
    from pipeline.translate.shard import translate_shard
    from pipeline.translate.translator import Translator

    recorded = find_row(job.store, key, variant)
    shard, at = _shard_of(job, recorded)
    translator = Translator(job)
    try:
        rows = translate_shard(translator, shard if whole_shard else only(shard, {at})).rows
    finally:
        translator.close()
    row = next(each for each in rows if (each.key, each.variant) == (recorded["key"], recorded["variant"]))
    if row.source_sha256 != recorded["source_sha256"]:
        raise InputError(
            f"{redact(row.source_uri)}: the source of '{printable(key)}' has changed since it was translated"
        )
    if recorded["sha256"] is None or row.image is None:
        now = (row.rejection.stage, row.rejection.error) if row.rejection else None
        return Reproduction(row, recorded, now == (recorded["stage"], recorded["error"]), None, whole_shard)
    identical = hashlib.sha256(row.image).hexdigest() == recorded["sha256"]
    difference = None if identical else _difference(job, row, recorded)
    return Reproduction(row, recorded, identical, difference, whole_shard)


def find_row(store: Store, key: str, variant: int) -> dict[str, Any]:
    """The row of a sample in the index parts, the one that is in the data where several source files have its key.

    Raises:
        InputError: there is none; the nearest key is named.
    """
    found: list[dict[str, Any]] = []
    names: set[str] = set()
    for entry in list_parts(store):
        data = store.read(entry.path)
        table = rows_with(read_small_parquet(data, _FIND), "key", key)
        if variant in table["variant"].to_pylist():
            rows = rows_with(read_part(data), "key", key).to_pylist()
            found += [row for row in rows if row["variant"] == variant]
        elif len(names) < _NAMES:
            names.update(read_small_parquet(data, ["key"])["key"].to_pylist())
    if not found:
        near = difflib.get_close_matches(key, sorted(names), 1)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        what = f"sample '{printable(key)}'" + (f" variant {variant}" if variant else "")
        raise InputError(f"{redact(store.uri())}: no {what} in the index{hint}")
    return next((row for row in found if row["status"] == "ok"), found[0])


def _shard_of(job: Job, recorded: dict[str, Any]) -> tuple[Shard, int]:
    """The shard that a row belongs to, read from the source, and the sample's place in it."""
    data = job.store.read(part_path(recorded["shard"]))
    note = read_note(data)
    plan = next((each for each in read_plan(job.store) if each.file.relative == note.source), None)
    if plan is None:
        raise InputError(
            f"{redact(job.store.uri())}: the recorded plan has no source file {note.source}; run the job again"
        )
    table: pa.Table = read_part(data)
    pairs = zip(*(table[name].to_pylist() for name in ("key", "variant", "status", "error")), strict=True)
    wanted = tuple(recorded[name] for name in ("key", "variant", "status", "error"))
    at = next(number for number, found in enumerate(pairs) if found == wanted) // job.spec.variants
    known = (plan.file,) if job.source_format == "folder" else ()
    shards = job.source(known).read(plan.file, job.layout, job.shard_size, lambda part: part == note.part)
    shard = next(iter(shards), None)
    if shard is None or at >= len(shard.samples) or shard.samples[at].key != recorded["key"]:
        raise InputError(
            f"{redact(plan.file.uri)}: has no '{printable(recorded['key'])}' where it was when it was translated; "
            "the source has changed or is gone"
        )
    return shard, at


def _difference(job: Job, row: Row, recorded: dict[str, Any]) -> Difference | None:
    """Of the picture that came out now to the stored one; ``None`` where that is missing or of another size."""
    if recorded["status"] != "ok" or row.image is None:
        return None
    try:
        (_, stored), *_ = PictureReader(job).read(recorded["shard"], [recorded])
        before, now = (codec.decode(data).pixels.astype(np.int16) for data in (stored.image, row.image))
    except (InputError, BadSample, ValueError):
        return None
    if before.shape != now.shape:
        return None
    difference = np.abs(before - now)
    return Difference(int(difference.max()), float(difference.mean()))
