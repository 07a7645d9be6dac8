"""Committing a shard: loose pictures, the data file, then the index part. The last put is the commit."""

from __future__ import annotations

import io
import time

import numpy as np

from pipeline.job import Job
from pipeline.metrics.summary import Summary
from pipeline.records import Receipt, Translated
from pipeline.sink.files import from_data, loose_paths, put_pictures
from pipeline.sink.index import part_path, write_index
from pipeline.sink.parquet import write_parquet
from pipeline.sink.webdataset import write_webdataset

DATA = "data"
FEATURES = "_sceneshift/features"


def data_path(shard: str, format: str) -> str:
    """Where a shard's data file lives."""
    return f"{DATA}/{shard}.{'tar' if format == 'webdataset' else 'parquet'}"


def commit(job: Job, shard: Translated) -> Receipt:
    """Write one translated shard.

    Names and bytes depend on the shard alone, so that a retry, or a worker that was thought dead, writes the same
    again. A shard without a single ok row has an index part and no data file.
    """
    output = job.spec.output
    good = [(number, row) for number, row in enumerate(shard.rows) if row.status == "ok"]
    places, written = {}, 0
    if good:
        rows = [row for _, row in good]
        if output.format == "webdataset":
            data, found = write_webdataset(rows, job.layout, output.image.suffix, output.pairs, job.spec.variants)
        else:
            loose: list[str] | None = None
            if output.format == "files":
                paths = loose_paths(rows, shard.shard, output.image.suffix, job.spec.variants)
                written += put_pictures(job.store, paths, rows)
                loose = [from_data(path) for path in paths]
            data, found = write_parquet(rows, job.layout, output.image.suffix, output.pairs, loose)
        places = {number: place for (number, _), place in zip(good, found, strict=True)}
        job.store.put(data_path(shard.shard, output.format), data)
        written += len(data)
    for name in sorted({name for _, row in good for name in row.features}):
        vectors = np.stack([row.features[name] for _, row in good if name in row.features])
        buffer = io.BytesIO()
        np.save(buffer, vectors.astype(np.float32), allow_pickle=False)
        job.store.put(f"{FEATURES}/{name}/{shard.shard}.npy", buffer.getvalue())
    part, note = write_index(shard, places, job.metric_columns, job.method_label, job.fingerprint)
    job.store.put(part_path(shard.shard), part)
    metrics = {}
    for name in job.metric_columns:
        summary = Summary()
        summary.add([row.metrics[name] for _, row in good if name in row.metrics])
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
        bytes_out=written + len(part),
        started=shard.started,
        translated=shard.finished,
        committed=time.time(),
        device_seconds=shard.device_seconds,
        worker=shard.worker,
        reasons=note.reasons,
        metrics=metrics,
        undeclared=shard.undeclared,
        notices=shard.notices,
    )
