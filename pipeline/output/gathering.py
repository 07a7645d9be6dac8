"""One pass over the index parts: what their notes count, figures of columns, and the merged index while it is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from methods.errors import first_line
from pipeline.errors import JobFailed
from pipeline.findings import Finding, merge
from pipeline.labels.check_table import SurvivalTable
from pipeline.map_ahead import map_ahead
from pipeline.metrics.set_features import rank
from pipeline.metrics.summary import Summary
from pipeline.output.view import View
from pipeline.sink.label_counts import LabelTotals
from pipeline.sink.note import PartNote, note_in
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.storage import Store

MERGE_ROWS = 3_000_000
MERGE_BYTES = 1 << 30
"""A merged index has no more rows, and takes no more memory: it is sorted in memory, which takes twice as much."""
_TOGETHER = 64
"""Small tables that are made one: each of their buffers, some hundreds of bytes, keeps a page of its own."""
_CHECK = "labels.survival"


@dataclass
class Gathered:
    """What all parts say together.

    Attributes:
        counts: rows as they are seen through the output's filter, by status.
        reasons: rejected rows by reason.
        findings: what shards left out.
        shards: ids of the committed ones.
        columns: figures of each metric column, over ok rows.
        ranks: of ok rows, where the output has a filter: figures of sets are those of what it keeps.
        kept, dropped: labels that a detector still finds in ok and in filtered rows, where the job asks one.
        merged: all rows, sorted by key, variant and shard; ``None`` for no part, and for more rows than are merged.
    """

    labels: LabelTotals
    columns: dict[str, Summary]
    ranks: set[int] | None = None
    kept: SurvivalTable | None = None
    dropped: SurvivalTable | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "filtered": 0, "rejected": 0})
    reasons: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    shards: set[str] = field(default_factory=set)
    merged: pa.Table | None = None


def gather(
    store: Store, paths: Sequence[str], metric_columns: Sequence[str], view: View | None, labels: LabelTotals
) -> Gathered:
    """Read every index part once, several ahead. Memory is bounded by the merged index, not by the number of parts.

    Args:
        store: the output.
        paths: its index parts, sorted.
        metric_columns: of the job.
        view: the filter that was applied to the output after its job.
        labels: counts of labels, which the parts' are added to.

    Raises:
        JobFailed: a part that cannot be read.
    """
    found = Gathered(labels, {name: Summary() for name in metric_columns}, None if view is None else set())
    if _CHECK in metric_columns:
        found.kept, found.dropped = SurvivalTable(), SurvivalTable()
    index = _Index()
    few = _needed(metric_columns, found, view)
    for _, (note, table) in map_ahead(lambda path: _read(store, path, None if index.small else few), paths):
        _count(found, note)
        if view is not None:
            table = view.apply(table)
        _measure(found, note, table.select([name for name in few if name in table.column_names]))
        index.add(table)
    found.merged = index.sorted()
    return found


class _Index:
    """The rows of all parts, for as long as they are few."""

    def __init__(self) -> None:
        self.small = True
        self._rows = self._bytes = 0
        self._tables: list[pa.Table] = []
        self._recent: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        if not self.small:
            return
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows > MERGE_ROWS or self._bytes > MERGE_BYTES:
            self.small = False
            self._tables, self._recent = [], []
            return
        self._recent.append(table)
        if len(self._recent) == _TOGETHER:
            self._join()

    def sorted(self) -> pa.Table | None:
        """The rows by key, variant and shard; they are held here no more. ``None`` for no part, or too many rows."""
        self._join()
        tables, self._tables = self._tables, []
        if not tables:
            return None
        order = [("key", "ascending"), ("variant", "ascending"), ("shard", "ascending")]
        return pa.concat_tables(tables).sort_by(order).combine_chunks()

    def _join(self) -> None:
        if self._recent:
            self._tables.append(pa.concat_tables(self._recent).combine_chunks())
            self._recent = []


def _needed(metric_columns: Sequence[str], found: Gathered, view: View | None) -> list[str]:
    """Columns that figures are made of: all that is read of a part when nothing is merged any more."""
    names = ["status", *(METRIC + name for name in metric_columns)]
    names += ["stage", "error", "message", "key", "variant"] if view is not None else []
    return [*names, "labels"] if found.kept is not None else names


def _read(store: Store, path: str, columns: Sequence[str] | None) -> tuple[PartNote, pa.Table]:
    data = store.read(path)
    try:
        table = read_small_parquet(data, columns)
        note = note_in(table.schema.metadata)
    except Exception as error:
        raise JobFailed(
            f"{store.uri(path)}: not a readable index part ({first_line(error)}); delete it and run again, "
            "which makes its shard anew"
        ) from error
    return note, table.replace_schema_metadata(None)


def _count(found: Gathered, note: PartNote) -> None:
    found.labels.taken(note)
    found.shards.add(note.shard)
    for name in found.counts:
        found.counts[name] += getattr(note, name)
    for reason, number in note.reasons.items():
        found.reasons[reason] = found.reasons.get(reason, 0) + number
    if note.findings:
        found.findings = merge(found.findings, note.findings)


def _measure(found: Gathered, note: PartNote, table: pa.Table) -> None:
    good = rows_with(table, "status", "ok")
    # the note counts what the job kept, of which a later filter may have taken some
    found.counts["filtered"] += note.ok - good.num_rows
    found.counts["ok"] += good.num_rows - note.ok
    for name, summary in found.columns.items():
        if METRIC + name in table.column_names:
            column = good[METRIC + name]
            summary.add(column.drop_null().to_pylist())
            # What the index holds of a value that is no number.
            summary.nan_count += column.null_count
    if found.ranks is not None:
        keys = good.select(["key", "variant"]).to_pylist()
        found.ranks |= {rank(each["key"], each["variant"]) for each in keys}
    for status, survival in (("ok", found.kept), ("filtered", found.dropped)):
        if survival is not None:
            survival.add(rows_with(table, "status", status)["labels"].to_pylist())
