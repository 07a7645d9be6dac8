"""A summary from what `metrics.json` holds: the package itself only writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.findings import Finding
from pipeline.output.summary import ColumnFigures, RowCounts, RunSummary


def summary_of(tree: Mapping[str, Any]) -> RunSummary:
    """What ``RunSummary.as_tree`` gave. Raises KeyError or TypeError for anything else."""
    return RunSummary(
        rows=RowCounts(**tree["rows"]),
        reasons=tree.get("reasons", {}),
        columns={name: ColumnFigures.of(each) for name, each in tree.get("columns", {}).items()},
        dataset=tree.get("dataset", {}),
        dataset_notes=tuple(tree.get("dataset_notes", ())),
        label_check=tree.get("label_check"),
        duplicate_keys=tree.get("duplicate_keys"),
        findings=tuple(map(Finding.from_dict, tree.get("findings", []))),
        labels=tree.get("labels", {}),
    )
