"""The index part of a shard: the small object whose presence commits it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa

from pipeline.fence import read_record
from pipeline.findings import merge
from pipeline.paths import INDEX, JOB_FILE
from pipeline.records import Row, Translated
from pipeline.sink.label_counts import count_labels
from pipeline.sink.note import META, PartNote
from pipeline.sink.parquet import parquet_bytes
from pipeline.sink.schema import METRIC, index_schema
from pipeline.small_parquet import read_small_parquet
from pipeline.storage import Entry, Store
from pipeline.uris import printable, redact

_SHARD = re.compile(r"(?P<stem>.+-[0-9a-f]{8})(?:-g(?P<generation>\d+))?-(?P<part>\d{4,})")


def name_of_shard(path: str) -> tuple[str, int, int] | None:
    """(stem of the source file, generation, part) that the name of a shard's file says; ``None`` for other files."""
    found = _SHARD.fullmatch(path.rpartition("/")[2].rpartition(".")[0])
    return None if found is None else (found["stem"], int(found["generation"] or 1), int(found["part"]))


def list_parts(store: Store) -> list[Entry]:
    """The index parts of an output, sorted: those of the generation that its record names, and no other files."""
    record = read_record(store, JOB_FILE) or {}
    generation = record.get("generation", 1)
    entries = [entry for entry in store.list(INDEX) if entry.path.endswith(".parquet")]
    return [entry for entry in entries if (name := name_of_shard(entry.path)) and name[1] == generation]


def write_index(
    shard: Translated,
    places: Mapping[int, Mapping[str, int]],
    metric_columns: Sequence[str],
    method: str,
    fingerprint: str,
) -> tuple[bytes, PartNote]:
    """The part's bytes, and its note. ``places`` maps the position of an ok row to where its picture lies."""
    counts = {status: sum(row.status == status for row in shard.rows) for status in ("ok", "filtered", "rejected")}
    reasons: dict[str, int] = {}
    for row in shard.rows:
        if row.rejection is not None and row.status == "rejected":
            reasons[row.rejection.error] = reasons.get(row.rejection.error, 0) + 1
    note = PartNote(
        shard.shard,
        shard.source,
        shard.part,
        shard.last,
        **counts,
        fingerprint=fingerprint,
        reasons=reasons,
        labels=count_labels(shard.rows),
        damaged=shard.damaged,
        findings=merge(shard.findings, *(row.findings for row in shard.rows)),
    )
    schema = index_schema(metric_columns)
    rows = [
        _index_row(row, shard.shard, places.get(number, {}), metric_columns, method, fingerprint)
        for number, row in enumerate(shard.rows)
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    table = table.replace_schema_metadata({META: json.dumps(asdict(note), sort_keys=True).encode()})
    return parquet_bytes(table), note


def _index_row(
    row: Row, shard: str, place: Mapping[str, int], metrics: Sequence[str], method: str, fingerprint: str
) -> dict:
    values = {
        "key": row.key,
        "variant": row.variant,
        "status": row.status,
        "stage": row.rejection.stage if row.rejection else None,
        "error": row.rejection.error if row.rejection else None,
        "message": printable(redact(row.rejection.message)) if row.rejection else None,
        "shard": shard,
        "row": place.get("row"),
        "offset": place.get("offset"),
        "size": place.get("size"),
        "source_uri": printable(redact(row.source_uri)),
        "source_sha256": row.source_sha256,
        "sha256": hashlib.sha256(row.image).hexdigest() if row.image is not None else None,
        "width": row.width,
        "height": row.height,
        "caption": row.caption,
        "labels": row.labels,
        "labels_raw": row.labels_raw,
        "label_problems": list(row.label_problems) or None,
        "seed": row.seed,
        "method": method,
        "fingerprint": fingerprint,
    }
    for name in metrics:
        value = row.metrics.get(name)
        values[METRIC + name] = None if value is None or value != value else float(value)
    return values


def read_part(data: bytes) -> pa.Table:
    """All rows of an index part."""
    return read_small_parquet(data)
