"""Which samples of an output of `sceneshift run` fulfil an expression over its metrics."""

from __future__ import annotations

from typing import Any

from methods.errors import InputError
from pipeline.job_record import JobRecord, stored_job
from pipeline.keep import KeepExpression
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.schema import METRIC
from pipeline.sources.outputs import variant_key
from pipeline.spec import SourceSpec
from pipeline.storage import Store, redact


def chosen_keys(source: SourceSpec, where: str) -> frozenset[str]:
    """The keys of the samples that fulfil ``where``, as the source names them (``key_v0`` for variants).

    Args:
        source: outputs of ``sceneshift run``, or data files of them.
        where: in the language of ``keep``, over the metrics that the run measured.

    Raises:
        InputError: no such output, an expression that does not fit it, outputs that share a key, or an expression
            that nothing fulfils.
    """
    outputs = {store.uri(): (store, record) for store, record in (_output_of(uri, source) for uri in source.uris)}
    found: set[str] = set()
    seen: set[str] = set()
    for store, record in outputs.values():
        all_of_it, those = _keys_of(store, record, where)
        if both := seen & all_of_it:
            raise InputError(
                f"where: several of the outputs have a sample '{min(both)}', so its key does not say "
                "which is meant; train on one of them, or give each a stream of its own"
            )
        seen |= all_of_it
        found |= those
    if not found:
        raise InputError(f"where: no sample of {', '.join(outputs)} fulfils '{where}'")
    return frozenset(found)


def _output_of(uri: str, source: SourceSpec) -> tuple[Store, JobRecord]:
    """The output that a URI names, and its record: what stands before a path's last ``/data``, or the URI itself."""
    heads = [uri.rpartition("/data/")[0], uri.removesuffix("/data") if uri.endswith("/data") else "", uri]
    for head in heads:
        # the bucket in s3://data/ is no folder of an output
        if head and ("://" in head or "://" not in uri):
            store = Store(head, source.storage)
            if (record := stored_job(store)) is not None:
                return store, record
    raise InputError(f"where: {redact(uri)} is no output of `sceneshift run`: there are no metrics to choose by")


def _keys_of(store: Store, record: JobRecord, where: str) -> tuple[set[str], set[str]]:
    """All keys of an output, and those of the samples that fulfil ``where``."""
    try:
        expression = KeepExpression.parse(where, record.metric_columns)
    except InputError as error:
        raise InputError(f"where: {str(error).removeprefix('keep: ')}") from None
    keys: set[str] = set()
    found: set[str] = set()
    for part in list_parts(store):
        table = read_part(store.read(part.path))
        wanted = ["key", "variant", *(METRIC + name for name in expression.names)]
        rows: list[dict[str, Any]] = table.select(wanted).to_pylist()
        for row in rows:
            key = variant_key(row["key"], row["variant"], record.spec.variants)
            keys.add(key)
            values = {name: row[METRIC + name] for name in expression.names if row[METRIC + name] is not None}
            if expression.keeps(values):
                found.add(key)
    return keys, found
