"""`sceneshift compare`: what two or more outputs made of the same samples, as figures and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from methods.errors import InputError
from pipeline.job_record import JobRecord
from pipeline.labels.check_table import SurvivalTable
from pipeline.output.compare.pairing import Common, PairedFigures, common_rows, paired_figures
from pipeline.output.compare.rows import IndexRows, Slim
from pipeline.output.report.choose import SPREAD, Choice
from pipeline.output.report.frame import render
from pipeline.output.report.gallery import Gallery, Pair, load_gallery
from pipeline.output.report.page import gallery_groups
from pipeline.output.report.speed import Cost, run_speeds
from pipeline.runlog import read_runs
from pipeline.sink.schema import METRIC
from pipeline.storage import Store
from pipeline.uris import redact

_SPREAD, _ENDS, _METRICS = 12, 4, 3
_CHECK = METRIC + "labels.survival"
_SIDES = {"low": "below", "high": "above"}


@dataclass(frozen=True)
class Compared:
    """One output among those compared.

    Attributes:
        name: ``A``, ``B`` ... in the order given.
        rows: its index; ``slim`` what of that is held in memory.
        alone: its ok samples that not all others have.
        cost: of 1,000 images; ``None`` where no run log is kept.
        survival: of the samples in common, what of the labels a detector still finds, as
            :meth:`pipeline.labels.check_table.SurvivalTable.as_tree` gives it; ``None`` where not all were checked.
    """

    name: str
    store: Store
    record: JobRecord
    rows: IndexRows
    slim: Slim
    alone: int
    cost: Cost | None
    survival: Mapping[str, Any] | None

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows by status."""
        return self.slim.counts


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
    indexes = [IndexRows(store, record) for store, record in outputs]
    slims = [Slim.read(index) for index in indexes]
    common = common_rows([each.names for each in slims])
    if not common.count:
        places = " and ".join(redact(store.uri()) for store, _ in outputs)
        raise InputError(f"{places}: no sample is in the data of all of them (compared by key and variant)")
    checked = all(_CHECK in each.metrics for each in slims)
    compared = tuple(
        Compared(
            name=chr(ord("A") + number),
            store=store,
            record=record,
            rows=indexes[number],
            slim=slims[number],
            alone=common.alone[number],
            cost=_cost(store, record),
            survival=_survival(indexes[number], slims[number].places[common.rows[number]]) if checked else None,
        )
        for number, (store, record) in enumerate(outputs)
    )
    first, *others = [
        {name: values[rows] for name, values in slim.metrics.items()}
        for slim, rows in zip(slims, common.rows, strict=True)
    ]
    figures = tuple(tuple(paired_figures(first, other)) for other in others)
    return Comparison(compared, common, figures, _differing([record for _, record in outputs]))


def comparison_page(found: Comparison) -> str:
    """The comparison as one HTML document that needs no network."""
    chosen = _chosen(found)
    galleries = []
    for number, output in enumerate(found.outputs):
        rows = output.rows.take(output.slim.places[found.common.rows[number][[at for at, _ in chosen]]])
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
        "survival": _survival_rows(found),
        "groups": groups,
        "titles": {each.id: each.title for each in groups},
        "overlaid": len(found.outputs) == 2,
    }
    return render("compare.html.j2", page, {})


def _survival_rows(found: Comparison) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """(class, the entry of each output), all classes together first; nothing where not all were checked."""
    trees = [each.survival for each in found.outputs if each.survival is not None]
    if not trees:
        return []
    names = sorted({name for tree in trees for name in tree["classes"]})
    empty: dict[str, Any] = {"found_before": 0, "held": 0, "survival": None, "ci95": None}
    rows = [("all", [tree["all"] for tree in trees])]
    return rows + [(name, [tree["classes"].get(name, empty) for tree in trees]) for name in names]


def _survival(index: IndexRows, places: np.ndarray) -> dict[str, Any]:
    """The table of the label check over some rows of an index."""
    table, first, wanted = SurvivalTable(), 0, np.sort(places)
    for piece in index.pieces(["labels"]):
        low, high = np.searchsorted(wanted, [first, first + piece.num_rows])
        table.add(piece["labels"].take(pa.array(wanted[low:high] - first, pa.int64())).to_pylist())
        first += piece.num_rows
    return table.as_tree()


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
    first, second = found.outputs[:2]
    mine, theirs = found.common.rows[:2]
    for figure in [each for each in found.figures[0] if each.difference or each.clear][:_METRICS]:
        name = METRIC + figure.metric
        apart = second.slim.metrics[name][theirs] - first.slim.metrics[name][mine]
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
