"""The ok rows of an index as its filter sees them, a shard at a time, without holding the dataset."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from methods.errors import InputError
from pipeline.keep import KeepExpression
from pipeline.map_ahead import map_ahead
from pipeline.output.view import read_view
from pipeline.sink.index import list_parts
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import read_small_parquet, rows_with
from pipeline.storage import Store

_SIZES = ("width", "height")


class Rows:
    """Reads the rows to be exported.

    Args:
        store: an output.
        metric_columns: the metrics that it measures.
        where: an expression of the language of ``keep``, over metrics, ``width`` and ``height``.

    Raises:
        InputError: ``where`` is no such expression.
    """

    def __init__(self, store: Store, metric_columns: Sequence[str], where: str | None) -> None:
        self._store = store
        view = read_view(store, metric_columns)
        self._view = None if view is None else view.keep
        self._conditions: list[KeepExpression] = [] if view is None else [view.expression]
        if where is not None:
            try:
                self._conditions.append(KeepExpression.parse(where, [*metric_columns, *_SIZES]))
            except InputError as error:
                raise InputError(str(error).replace("keep:", "--where:", 1)) from None

    def parts(self) -> list[str]:
        """The index parts, sorted: the order of everything that is exported."""
        return [entry.path for entry in list_parts(self._store)]

    def identity(self, *, splits: bool) -> dict[str, str]:
        """What of the output decides which files an export writes, beside its fingerprint and the options.

        Args:
            splits: whether there are several, which pictures move between as others come.
        """
        found = {} if self._view is None else {"view": self._view}
        if splits:
            found["parts"] = hashlib.sha256("\n".join(self.parts()).encode()).hexdigest()
        return found

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The chosen rows of each shard, with the named columns and those that choosing takes."""
        for _, table in map_ahead(lambda path: self._table(path, columns), self.parts(), threads=4):
            yield table

    def _table(self, path: str, columns: Sequence[str]) -> pa.Table:
        data = self._store.read(path)
        names = pq.read_schema(io.BytesIO(data)).names
        needed = {*columns, "status", *self._columns()}
        table = read_small_parquet(data, [name for name in names if name in needed])
        table = rows_with(table, "status", "ok")
        if self._conditions:
            rows = (_values(row) for row in table.select(self._present(table)).to_pylist())
            chosen = [all(each.keeps(row) for each in self._conditions) for row in rows]
            table = table.filter(pa.array(chosen, pa.bool_()))
        return table

    def _columns(self) -> list[str]:
        names = {name for each in self._conditions for name in each.names}
        return [name if name in _SIZES else METRIC + name for name in sorted(names)]

    def _present(self, table: pa.Table) -> list[str]:
        # An older part may lack a column that `sceneshift stats` and the like have added since: its value is missing.
        return [name for name in self._columns() if name in table.column_names]


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    return {name.removeprefix(METRIC): value for name, value in row.items() if value is not None}
