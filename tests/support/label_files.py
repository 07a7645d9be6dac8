"""Label sources for tests: files written to a folder, opened as a table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.labels import LabelFormat, Labels, LabelTable, TableSource, open_table, parse_record


def write_files(folder: Path, files: Mapping[str, Any]) -> Path:
    """Relative name -> content (bytes, text, or a value that becomes JSON)."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def table_of(folder: Path, content: Any, format: LabelFormat = "auto", name: str = "labels.json") -> LabelTable:
    """The table of one label file."""
    path = write_files(folder, {name: content}) / name
    # Two contents of one size within the clock's step would share a stamp.
    os.utime(path, ns=(path.stat().st_atime_ns, hash(str(content)) % 10**18))
    return open_table(TableSource(str(path), format))


def labels_of(table: LabelTable, *names: str, size: tuple[int, int] | None = None) -> Labels | None:
    """The labels of a picture in the table."""
    record = table.find(*names)
    return None if record is None else parse_record(record.text, size, table.info)
