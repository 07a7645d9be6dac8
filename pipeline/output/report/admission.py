"""Who came through: samples by what became of them, as a whole, per class of object and per stratum of the source.

A filter on a metric is never neutral: it may empty a class, or all the rainy pictures, without anybody seeing it in a
mean. This table shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.keep import KeepExpression
from pipeline.labels.check_names import MEASURED_OF_ALL
from pipeline.sink.schema import METRIC

# Its functions are made when it is imported, out of sight of type checkers.
pc: Any = pyarrow.compute

FIRST_STRATA = ("timeofday", "weather", "scene", "city", "split")
_MOST_STRATA, _MOST_VALUES, _MOST_CLASSES = 6, 30, 80
_STATUSES = ("ok", "filtered", "rejected")
MOST_RECORDS = 200_000


@dataclass
class Line:
    """What became of the samples, or objects, of one kind.

    Attributes:
        clauses: of the filtered ones, how many each clause did not keep; one may fail several.
    """

    name: str
    ok: int = 0
    filtered: int = 0
    rejected: int = 0
    clauses: list[int] = field(default_factory=list)

    @property
    def attempted(self) -> int:
        """All of them."""
        return self.ok + self.filtered + self.rejected

    @property
    def kept(self) -> float:
        """Share that is in the data; 1 for none at all, as nothing was lost."""
        return self.ok / self.attempted if self.attempted else 1.0


@dataclass(frozen=True)
class Admission:
    """The tables.

    Attributes:
        clauses: conditions of the filter, in its order.
        total: all samples.
        classes: objects by class, of samples that were translated: a rejected one has no labels in the index.
        strata: by attribute of the source pictures, samples by its value.
    """

    clauses: tuple[str, ...]
    total: Line
    classes: tuple[Line, ...] = ()
    strata: tuple[tuple[str, tuple[Line, ...]], ...] = ()

    @property
    def emptied(self) -> list[str]:
        """Classes and strata of which nothing at all is left, for a warning."""
        groups = [("class", self.classes), *self.strata]
        return [f"{name} {line.name}" for name, lines in groups for line in lines if line.attempted and not line.ok]


def admission(table: pa.Table, keep: Sequence[KeepExpression], changed: Mapping[str, Any]) -> Admission:
    """Count the rows of an index, or of a part of it.

    Args:
        keep: the filters that were applied, of the job and of a later ``refilter``.
        changed: attributes that the translation set: of these the source's own value counts, as its label record has
            it. Of an index with more rows than :data:`MOST_RECORDS` the records are not read, and these are left out.
    """
    clauses = [clause for each in keep for clause in each.clauses()]
    failed = _failed(table, clauses)
    codes = {name: code for code, name in enumerate(_STATUSES)}
    status = np.fromiter((codes[each] for each in table["status"].to_pylist()), np.int64, table.num_rows)
    (total,) = _lines(["all"], np.zeros(table.num_rows, np.int64), status, failed)
    return Admission(
        tuple(clause.text for clause in clauses),
        total,
        tuple(_classes(table, status, failed)),
        tuple(_strata(table, status, failed, changed)),
    )


def _failed(table: pa.Table, clauses: Sequence[KeepExpression]) -> np.ndarray:
    """(rows, clauses) bool: which clause a filtered row does not meet."""
    failed = np.zeros((table.num_rows, len(clauses)), bool)
    if not clauses or not table.num_rows:
        return failed
    names = sorted({name for clause in clauses for name in clause.names if METRIC + name in table.column_names})
    rows = np.flatnonzero(pc.equal(table["status"], "filtered").to_numpy(zero_copy_only=False))
    values = table.select([METRIC + name for name in names]).take(rows).to_pylist() if names else [{}] * len(rows)
    for row, found in zip(rows, values, strict=True):
        plain = {name.removeprefix(METRIC): value for name, value in found.items() if value is not None}
        failed[row] = [not clause.keeps(plain) for clause in clauses]
    return failed


def _lines(names: Sequence[str], group: np.ndarray, status: np.ndarray, failed: np.ndarray) -> list[Line]:
    """One line per name, the largest first, from the number of the name, the status and the failed clauses of each."""
    counts = np.bincount(group * len(_STATUSES) + status, minlength=len(_STATUSES) * len(names))
    counts = counts.reshape(len(names), len(_STATUSES))
    clauses = [np.bincount(group, weights=column, minlength=len(names)) for column in failed.T]
    lines = [
        Line(name, *map(int, counts[number]), clauses=[int(column[number]) for column in clauses])
        for number, name in enumerate(names)
    ]
    return sorted(lines, key=lambda line: (-line.attempted, line.name))


def _classes(table: pa.Table, status: np.ndarray, failed: np.ndarray) -> list[Line]:
    """Objects by class, the most frequent first."""
    labels = table["labels"].combine_chunks()
    objects = pc.struct_field(labels, "annotations")
    parents = pc.list_parent_indices(objects).to_numpy(zero_copy_only=False)
    if not len(parents):
        return []
    names = pc.fill_null(pc.struct_field(pc.list_flatten(objects), "category"), "(no category)").dictionary_encode()
    codes = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return _lines(names.dictionary.to_pylist(), codes, status[parents], failed[parents])[:_MOST_CLASSES]


def _strata(
    table: pa.Table, status: np.ndarray, failed: np.ndarray, changed: Mapping[str, Any]
) -> list[tuple[str, tuple[Line, ...]]]:
    """By attribute: samples by value. Attributes with many values (an id, a file name) are no strata."""
    found: dict[str, dict[str, list[int]]] = {}
    for row, attributes in _attributes(table, changed):
        for name, value in attributes.items():
            if isinstance(value, str | bool | int):
                found.setdefault(name, {}).setdefault(str(value), []).append(row)
    kept = {name: values for name, values in found.items() if 1 <= len(values) <= _MOST_VALUES}
    order = {name: at for at, name in enumerate(FIRST_STRATA)}
    names = sorted(kept, key=lambda name: (order.get(name, len(order)), name))[:_MOST_STRATA]
    strata = []
    for name in names:
        rows = np.concatenate([np.asarray(each) for each in kept[name].values()])
        group = np.repeat(np.arange(len(kept[name])), [len(each) for each in kept[name].values()])
        strata.append((name, tuple(_lines(list(kept[name]), group, status[rows], failed[rows]))))
    return strata


def _attributes(table: pa.Table, changed: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(row, attributes of its picture), as the source has them."""
    texts = pc.struct_field(table["labels"].combine_chunks(), "attributes").to_pylist()
    read = bool(changed) and table.num_rows <= MOST_RECORDS
    raw = table["labels_raw"].to_pylist() if read else [None] * len(texts)
    parsed: dict[str, dict[str, Any]] = {}
    found = []
    for row, (text, source) in enumerate(zip(texts, raw, strict=True)):
        if text is None:
            continue
        if text not in parsed:
            known = json.loads(text).items()
            # what a check of labels found is nothing that the source says
            parsed[text] = {name: value for name, value in known if name not in changed and name not in MEASURED_OF_ALL}
        own = _raw_attributes(source) if read else {}
        found.append((row, parsed[text] | {name: value for name, value in own.items() if name in changed}))
    return found


def _raw_attributes(raw: str | None) -> dict[str, Any]:
    """The picture's attributes in a label record as the source wrote it: a BDD100K frame, or a COCO image's."""
    try:
        record = json.loads(raw or "null")
    except ValueError:
        return {}
    record = record[0] if isinstance(record, list) and record else record
    if not isinstance(record, dict):
        return {}
    image = record.get("image")
    for found in (record.get("attributes"), image.get("attributes") if isinstance(image, dict) else None):
        if isinstance(found, dict):
            return found
    return {}
