"""Building and looking at jobs in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.spec import JobSpec


def job(source: str | Path, out: str | Path, **changes: Any) -> JobSpec:
    """A small job: method ``invert``, no metrics; ``changes`` use ``block__key`` for nested keys."""
    tree: dict[str, Any] = {
        "source": {"uri": str(source)},
        "method": {"name": "invert"},
        "output": {"uri": str(out), "image": {"format": "png"}},
        "metrics": [],
    }
    for path, value in changes.items():
        *folders, last = path.split("__")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = value
    return JobSpec.parse(tree)


def index_rows(out: Path) -> list[dict[str, Any]]:
    """The merged index of an output."""
    return pq.read_table(out / "index.parquet").to_pylist()


def data_rows(out: Path) -> dict[str, dict[str, Any]]:
    """All rows of an output's Parquet data files, by key and variant."""
    rows = [row for path in sorted((out / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {f"{row['key']}/{row['variant']}": row for row in rows}
