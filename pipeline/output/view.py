"""A filter that is applied to an output after its job: the index says that samples are out, data and commits stay.

Index parts are never changed: their bytes belong to source, spec and weights. What is made of them, `index.parquet`,
`metrics.json`, the card, the report and exports, sees them through the view. Without the view they are as before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from methods.errors import InputError
from pipeline.keep import KeepExpression
from pipeline.paths import VIEW_FILE
from pipeline.sink.schema import METRIC
from pipeline.storage import Store

REASON = "filtered_later"
"""What ``error`` says of a row that the view takes out."""


@dataclass(frozen=True)
class View:
    """The filter.

    Attributes:
        keep: the condition that kept samples meet, in the language of ``keep``.
        expression: the same, checked.
    """

    keep: str
    expression: KeepExpression

    @classmethod
    def of(cls, keep: str, metric_columns: Sequence[str]) -> View:
        """A filter over an output's metrics. Raises InputError for what is no expression over them."""
        return cls(keep, KeepExpression.parse(keep, metric_columns))

    def apply(self, table: pa.Table) -> pa.Table:
        """Rows of the index with what the filter does not keep as ``filtered``; the places of their pictures stay."""
        names = [METRIC + name for name in sorted(self.expression.names) if METRIC + name in table.column_names]
        ok = pyarrow.compute.equal(table["status"], "ok").to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]
        positions = np.flatnonzero(ok)
        rows = table.select(names).take(positions).to_pylist() if names else [{}] * len(positions)
        values = (
            {name.removeprefix(METRIC): value for name, value in row.items() if value is not None} for row in rows
        )
        out = np.zeros(table.num_rows, bool)
        out[positions] = [not self.expression.keeps(each) for each in values]
        said = {"status": "filtered", "stage": "keep", "error": REASON, "message": f"not kept by: {self.keep}"}
        mask = pa.array(out)
        for name, text in said.items():
            chosen = pyarrow.compute.if_else(mask, text, table[name])  # type: ignore[attr-defined]
            table = table.set_column(table.column_names.index(name), table.schema.field(name), chosen)
        return table


def read_view(store: Store, metric_columns: Sequence[str]) -> View | None:
    """The filter of an output; ``None`` where none was applied. Raises InputError for a damaged record of it."""
    data = store.read_or_none(VIEW_FILE)
    if data is None:
        return None
    try:
        keep = json.loads(data)["keep"]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{store.uri(VIEW_FILE)}: damaged; take it back by `sceneshift refilter OUT --undo`, or give another filter"
        ) from None
    return View.of(str(keep), metric_columns)


def view_bytes(view: View) -> bytes:
    """What ``view.json`` holds."""
    return json.dumps({"keep": view.keep}, indent=1).encode()
