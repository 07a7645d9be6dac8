"""Committing a shard: loose pictures, the data file, then the index part. The last put is the commit."""

from __future__ import annotations

import io
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from methods.errors import first_line
from pipeline.job import Job
from pipeline.logs.faults import rejected
from pipeline.metrics.summary import Summary
from pipeline.paths import FEATURES, data_path, features_path, part_path
from pipeline.records import Receipt, Row, Translated
from pipeline.sink.files import from_data, loose_paths, put_pictures
from pipeline.sink.index import write_index
from pipeline.sink.note import PartNote
from pipeline.sink.parquet import write_parquet
from pipeline.sink.webdataset import write_webdataset
from pipeline.uris import printable


def commit(job: Job, shard: Translated) -> Receipt:
    """Write one translated shard.

    Names and bytes depend on the shard alone, so that a retry, or a worker that was thought dead, writes the same
    again. A shard without a single ok row has an index part and no data file. This is the border of the stage `write`:
    a row that no file can hold becomes a rejected one, and only what the store fails at is raised.
    """
    began = time.monotonic()
    try:
        files = _files(job, shard)
    except Exception:
        shard = replace(shard, rows=tuple(_writable(job, shard, row) for row in shard.rows))
        files = _files(job, shard)
    good = [row for row in shard.rows if row.status == "ok"]
    loose = put_pictures(job.store, files.loose, good) if files.loose else 0
    for path, data in files.before:
        job.store.put(path, data)
    job.store.put(part_path(shard.shard), files.part)
    note = files.note
    metrics = {}
    for name in job.metric_columns:
        summary = Summary()
        summary.add([row.metrics[name] for row in good if name in row.metrics])
        metrics[name] = summary
    return Receipt(
        shard=shard.shard,
        source=shard.source,
        part=shard.part,
        last=shard.last,
        ok=note.ok,
        filtered=note.filtered,
        rejected=note.rejected,
        bytes_in=shard.bytes_in,
        bytes_out=loose + files.written + len(files.part),
        started=shard.started,
        translated=shard.finished,
        committed=time.time(),
        device_seconds=shard.device_seconds,
        worker=shard.worker,
        read_seconds=shard.read_seconds,
        write_seconds=time.monotonic() - began,
        reasons=note.reasons,
        metrics=metrics,
        notices=shard.notices,
        findings=note.findings,
        device=shard.device,
        operations=shard.operations,
    )


def take_back(job: Job, shards: Collection[str]) -> None:
    """Take committed shards back, their index parts first: for a source file that is not what it was."""
    for shard in shards:
        job.store.delete(part_path(shard))
    for shard in shards:
        job.store.delete(data_path(shard, job.spec.output.format))
    gone = {f"{shard}.npy" for shard in shards}
    for entry in job.store.list(FEATURES) if shards else ():
        if entry.path.rpartition("/")[2] in gone:
            job.store.delete(entry.path)


@dataclass(frozen=True)
class _Files:
    """What a shard is written as: loose pictures, data file and features, and after them the index part."""

    before: list[tuple[str, bytes]]
    part: bytes
    note: PartNote
    written: int
    loose: list[str] = field(default_factory=list)


def _files(job: Job, shard: Translated) -> _Files:
    output = job.spec.output
    good = [(number, row) for number, row in enumerate(shard.rows) if row.status == "ok"]
    places, before, written = {}, [], 0
    paths: list[str] = []
    if good:
        rows = [row for _, row in good]
        if output.format == "webdataset":
            data, found = write_webdataset(rows, job.layout, output.image.suffix, output.pairs, job.spec.variants)
        else:
            if output.format == "files":
                paths = loose_paths(rows, shard.shard, output.image.suffix, job.spec.variants)
            loose = [from_data(path) for path in paths] or None
            data, found = write_parquet(rows, job.layout, output.pairs, loose, job.spec.variants)
        places = {number: place for (number, _), place in zip(good, found, strict=True)}
        before.append((data_path(shard.shard, output.format), data))
        written = len(data)
    for name in sorted({name for _, row in good for name in row.features}):
        vectors = np.stack([row.features[name] for _, row in good if name in row.features])
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        before.append((features_path(name, shard.shard), buffer.getvalue()))
    part, note = write_index(shard, places, job.metric_columns, job.method_label, job.fingerprint)
    return _Files(before, part, note, written, paths)


def _writable(job: Job, shard: Translated, row: Row) -> Row:
    """The row, or a rejected one in its place if no file can hold it (half a surrogate pair, 2**70 in a label)."""
    try:
        _files(job, replace(shard, rows=(row,)))
    except Exception as error:
        message = f"what belongs to this sample cannot be written ({type(error).__name__}: {first_line(error)})"
        return Row(
            key=printable(row.key),
            variant=row.variant,
            status="rejected",
            source_uri=row.source_uri,
            source_sha256=row.source_sha256,
            seed=row.seed,
            rejection=rejected("write", error, key=printable(row.key), reason="unwritable", message=printable(message)),
        )
    return row
