"""What `metrics.json` holds: counts and figures of a whole output, as one value that is written and read by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.findings import Finding


@dataclass(frozen=True)
class RowCounts:
    """Rows of the index by status; every sample that was attempted is one."""

    attempted: int = 0
    ok: int = 0
    filtered: int = 0
    rejected: int = 0

    def of(self, status: str) -> int:
        """Rows of one status, by its name."""
        return {"ok": self.ok, "filtered": self.filtered, "rejected": self.rejected}[status]


@dataclass(frozen=True)
class ColumnFigures:
    """One metric over all pictures in the data; ``None`` where so few values say nothing.

    Attributes:
        count: finite values.
        nan_count: values that are nan or infinite.
        std: with n - 1.
        ci95: 95 % confidence interval of the mean.
    """

    count: int = 0
    nan_count: int = 0
    mean: float | None = None
    std: float | None = None
    ci95: tuple[float, float] | None = None
    min: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> ColumnFigures:
        """From what :meth:`pipeline.metrics.summary.Summary.as_dict` gives."""
        interval = tree.get("ci95")
        known = {name: tree[name] for name in ("count", "nan_count", "mean", "std", "min", "max") if name in tree}
        return cls(**known, ci95=None if interval is None else (interval[0], interval[1]))


@dataclass(frozen=True)
class RunSummary:
    """All that `metrics.json` says of an output.

    Attributes:
        reasons: rejected rows by reason.
        columns: figures of each metric column.
        dataset: metrics of the whole set, such as a distance between distributions.
        dataset_notes: what one has to know to read them, one sentence each.
        label_check: what of the labels a detector still finds, by class, as
            :class:`pipeline.labels.check_table.SurvivalTable` gives it; ``None`` for a job that does not ask one.
        duplicate_keys: keys that several source files have; ``None`` where the index is too large to say.
        findings: what of the source is not here, or needs a look.
        labels: counts of labels, as :class:`pipeline.sink.label_counts.LabelTotals` gives them.
    """

    rows: RowCounts = RowCounts()
    reasons: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, ColumnFigures] = field(default_factory=dict)
    dataset: Mapping[str, float] = field(default_factory=dict)
    dataset_notes: tuple[str, ...] = ()
    label_check: Mapping[str, Any] | None = None
    duplicate_keys: int | None = None
    findings: tuple[Finding, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)

    def as_tree(self) -> dict[str, Any]:
        """JSON-ready, as ``metrics.json`` holds it."""
        return {
            "rows": asdict(self.rows),
            "reasons": dict(self.reasons),
            "columns": {name: asdict(each) for name, each in self.columns.items()},
            "dataset": dict(self.dataset),
            "dataset_notes": list(self.dataset_notes),
            "label_check": self.label_check,
            "duplicate_keys": self.duplicate_keys,
            "findings": [each.as_dict() for each in self.findings],
            "labels": dict(self.labels),
        }
