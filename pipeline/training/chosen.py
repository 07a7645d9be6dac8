"""Which samples of an output of `sceneshift run` fulfil an expression over its metrics."""

from __future__ import annotations

from typing import Any

from methods.errors import InputError
from pipeline.job_record import stored_job
from pipeline.keep import KeepExpression
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.schema import METRIC
from pipeline.sources.outputs import variant_key
from pipeline.spec import SourceSpec
from pipeline.storage import Store


def chosen_keys(source: SourceSpec, where: str) -> frozenset[str]:
    """The keys of the samples that fulfil ``where``, as the source names them (``key_v0`` for variants).

    Args:
        source: an output of ``sceneshift run``, or data files of one.
        where: in the language of ``keep``, over the metrics that the run measured.

    Raises:
        InputError: no such output, an expression that does not fit it, or one that nothing fulfils.
    """
    store = Store(source.uris[0].partition("/data/")[0], source.storage)
    record = stored_job(store)
    if record is None:
        raise InputError(f"where: {store.uri()} is no output of `sceneshift run`: there are no metrics to choose by")
    try:
        expression = KeepExpression.parse(where, record.metric_columns)
    except InputError as error:
        raise InputError(f"where: {str(error).removeprefix('keep: ')}") from None
    variants = record.spec.variants
    found = set()
    for part in list_parts(store):
        table = read_part(store.read(part.path))
        wanted = ["key", "variant", *(METRIC + name for name in expression.names)]
        rows: list[dict[str, Any]] = table.select(wanted).to_pylist()
        for row in rows:
            values = {name: row[METRIC + name] for name in expression.names if row[METRIC + name] is not None}
            if expression.keeps(values):
                found.add(variant_key(row["key"], row["variant"], variants))
    if not found:
        raise InputError(f"where: no sample of {store.uri()} fulfils '{where}'")
    return frozenset(found)
