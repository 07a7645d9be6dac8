"""`sceneshift compare`: what two or more outputs made of the same samples, as figures and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from methods.errors import InputError
from pipeline.job_record import JobRecord
from pipeline.output.compare.pairing import Common, PairedFigures, common_rows, paired_figures
from pipeline.output.report.choose import SPREAD, Choice
from pipeline.output.report.frame import render
from pipeline.output.report.gallery import Gallery, Pair, load_gallery
from pipeline.output.report.page import gallery_groups
from pipeline.output.report.speed import Cost, run_speeds
from pipeline.output.view import read_view
from pipeline.paths import MERGED_INDEX
from pipeline.runlog import read_runs
from pipeline.sink.index import list_parts, read_part
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import read_small_parquet
from pipeline.storage import Store
from pipeline.uris import redact

_SPREAD, _ENDS, _METRICS = 12, 4, 3
_SIDES = {"low": "below", "high": "above"}


@dataclass(frozen=True)
class Compared:
    """One output among those compared.

    Attributes:
        name: ``A``, ``B`` ... in the order given.
        counts: samples in its index by status.
        alone: its ok samples that not all others have.
        cost: of 1,000 images; ``None`` where no run log is kept.
    """

    name: str
    store: Store
    record: JobRecord
    counts: Mapping[str, int]
    alone: int
    cost: Cost | None


@dataclass(frozen=True)
class Comparison:
    """Everything found.

    Attributes:
        common: samples that are ok in all.
        figures: for every output but the first, its metrics against the first.
        settings: settings in which the jobs differ, with the value of each output.
    """

    outputs: tuple[Compared, ...]
    common: Common
    figures: tuple[tuple[PairedFigures, ...], ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]


def compare(outputs: Sequence[tuple[Store, JobRecord]]) -> Comparison:
    """Pair the samples of outputs by key and variant, and compare their metrics.

    Raises:
        InputError: fewer than two outputs, or none of the samples is ok in all.
    """
    if len(outputs) < 2:
        raise InputError("compare: give two outputs or more")
    indexes = [_index(store, record) for store, record in outputs]
    common = common_rows(indexes)
    if not common.count:
        places = " and ".join(redact(store.uri()) for store, _ in outputs)
        raise InputError(f"{places}: no sample is in the data of all of them (compared by key and variant)")
    compared = tuple(
        Compared(chr(ord("A") + number), store, record, _counts(index), alone, _cost(store, record))
        for number, ((store, record), index, alone) in enumerate(zip(outputs, indexes, common.alone, strict=True))
    )
    first, *others = common.tables
    figures = tuple(tuple(paired_figures(first, other)) for other in others)
    return Comparison(compared, common, figures, _differing([record for _, record in outputs]))


def comparison_page(found: Comparison) -> str:
    """The comparison as one HTML document that needs no network."""
    chosen = _chosen(found)
    galleries = []
    for number, output in enumerate(found.outputs):
        rows = found.common.tables[number].take([at for at, _ in chosen]).to_pylist()
        choices = [Choice(row, groups) for row, (_, groups) in zip(rows, chosen, strict=True)]
        galleries.append(load_gallery(choices, output.record, output.store))
    gallery = _side_by_side(galleries, found.outputs)
    groups = gallery_groups(gallery.pairs, lambda end, metric: f"{metric}: B most {_SIDES[end]} A")
    page = {
        "outputs": found.outputs,
        "uris": [redact(output.store.uri()) for output in found.outputs],
        "count": found.common.count,
        "figures": list(zip(found.outputs[1:], found.figures, strict=True)),
        "settings": found.settings,
        "gallery": gallery,
        "groups": groups,
        "titles": {each.id: each.title for each in groups},
        "overlaid": len(found.outputs) == 2,
    }
    return render("compare.html.j2", page, {})


def _index(store: Store, record: JobRecord) -> pa.Table:
    """The merged index, or the parts as one table, as the output's filter sees them."""
    data = store.read_or_none(MERGED_INDEX)
    if data is not None:
        return read_small_parquet(data)
    view = read_view(store, record.metric_columns)
    tables = [read_part(store.read(entry.path)).replace_schema_metadata(None) for entry in list_parts(store)]
    if not tables:
        raise InputError(f"{redact(store.uri())}: nothing is committed yet; run the job first")
    table = pa.concat_tables(tables).sort_by([("key", "ascending"), ("variant", "ascending")])
    return table if view is None else view.apply(table)


def _counts(index: pa.Table) -> dict[str, int]:
    status = index["status"].to_pylist()
    return {name: status.count(name) for name in ("ok", "filtered", "rejected")}


def _cost(store: Store, record: JobRecord) -> Cost | None:
    runs = read_runs(store)
    return Cost.of(run_speeds(runs), record.spec.compute.price_per_hour) if runs.num_rows else None


def _differing(records: Sequence[JobRecord]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    trees = [_flat({**record.shaping, "weights": list(record.weights_identity)}) for record in records]
    names = sorted({name for tree in trees for name in tree})
    rows = ((name, tuple(tree.get(name, "–") for tree in trees)) for name in names)
    return tuple((name, values) for name, values in rows if len(set(values)) > 1)


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    if isinstance(tree, Mapping) and tree:
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}" if path else key).items()}
    return {path: redact(str(tree))}


def _chosen(found: Comparison) -> list[tuple[int, tuple[str, ...]]]:
    """(place among the common rows, galleries): an even spread, then where the second output differs most from the
    first, either way, in the first metrics.
    """
    groups: dict[int, list[str]] = {}
    count = found.common.count
    for at in np.unique(np.linspace(0, count - 1, min(count, _SPREAD)).round().astype(int)):
        groups.setdefault(int(at), []).append(SPREAD)
    first, second = found.common.tables[:2]
    for figure in [each for each in found.figures[0] if each.difference or each.clear][:_METRICS]:
        apart = second[METRIC + figure.metric].to_numpy() - first[METRIC + figure.metric].to_numpy()
        order = np.argsort(apart, kind="stable")
        order = order[np.isfinite(apart[order])]
        for end, rows in (("low", order[:_ENDS]), ("high", order[::-1][:_ENDS])):
            for at in rows:
                groups.setdefault(int(at), []).append(f"{end}:{figure.metric}")
    return [(at, tuple(names)) for at, names in groups.items()]


def _side_by_side(galleries: Sequence[Gallery], outputs: Sequence[Compared]) -> Gallery:
    """One gallery: the source once, then the output of each."""
    fitting = min(len(each.pairs) for each in galleries)
    pairs = [_together([each.pairs[number] for each in galleries], outputs) for number in range(fitting)]
    return Gallery(tuple(pairs), galleries[0].legend, max(len(each.pairs) for each in galleries) - fitting)


def _together(pairs: Sequence[Pair], outputs: Sequence[Compared]) -> Pair:
    source = next((picture for picture in pairs[0].pictures if picture.role == "source"), None)
    made = [
        replace(picture, role=output.name)
        for pair, output in zip(pairs, outputs, strict=True)
        for picture in pair.pictures
        if picture.role == "output"
    ]
    metrics = tuple(
        (f"{output.name} {name}", value)
        for pair, output in zip(pairs, outputs, strict=True)
        for name, value in pair.metrics
    )
    return replace(pairs[0], pictures=((source,) if source else ()) + tuple(made), metrics=metrics)
