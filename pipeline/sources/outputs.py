"""Outputs of earlier jobs as sources: a data file says of itself which of its columns or members plays which part.

The note stands in the metadata of a Parquet file's schema, and in the global header of a tar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.labels.record import record_text
from pipeline.records import Kind
from pipeline.sources.columns import type_of
from pipeline.sources.endings import IMAGE_SUFFIXES
from pipeline.sources.jsonable import from_json
from pipeline.sources.layout import Layout

PARQUET_META = b"sceneshift.data"
TAR_HEADER = "SCENESHIFT.data"


def note_of(layout: Layout) -> str:
    """The text that a data file carries about its own columns or members."""
    return json.dumps(layout.model_dump(mode="json", exclude_defaults=True), sort_keys=True, ensure_ascii=False)


def layout_of(note: bytes | str | None) -> Layout | None:
    """The layout that a data file says of itself; ``None`` for files that are not ours, or of another version."""
    if not note:
        return None
    try:
        return Layout.model_validate_json(note)
    except ValidationError:
        return None


def variant_key(key: str, variant: int, variants: int) -> str:
    """The key of one variant of a sample, as a sample of its own."""
    return f"{key}_v{variant}" if variants > 1 else key


def from_row(row: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """A row of a data file, with its labels as one record."""
    values = dict(row)
    if layout.labels is not None:
        cell, raw = values.get(layout.labels), values.get(layout.labels_source or "")
        values[layout.labels] = raw if cell is None else record_text(cell, raw)
    return values


def from_members(members: Mapping[str, bytes], layout: Layout) -> tuple[str | None, dict[str, Any]]:
    """(key, parts by name) of one sample of a tar: its members, and the columns that its record holds.

    The key is ``None`` where the record is missing or damaged.
    """
    values: dict[str, Any] = dict(members)
    for part in {layout.target, *layout.masks, *layout.carry} - {None, *values}:
        # Pictures got an ending by their content, and readers of tars know small letters only.
        endings = [f"{part}.{suffix}" for suffix in IMAGE_SUFFIXES]
        found = next((each for each in [str(part).lower(), *endings] if each in values), None)
        if found is not None:
            values[str(part)] = values.pop(found)
    name = layout.record
    try:
        tree = json.loads(values.pop(name, b"null"))
    except ValueError:
        return None, values
    if not isinstance(tree, dict):
        return None, values
    columns = tree.pop("columns", None)
    for column, kind in layout.carry.items():
        if isinstance(columns, dict) and column in columns:
            values[column] = _read_back(columns[column], kind)
    values |= {column: value for column, value in (columns or {}).items() if column not in layout.carry}
    if "annotations" in tree:
        values[name] = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    elif isinstance(tree.get("labels_raw"), str):
        values[name] = tree["labels_raw"]
    key = tree.get("key")
    if not isinstance(key, str):
        return None, values
    return variant_key(key, int(tree.get("variant") or 0), layout.variants or 1), values


def _read_back(value: Any, kind: Kind) -> Any:
    try:
        return from_json(value, type_of(kind))
    except ValueError:
        return value  # where the sample is put together it is found to be of another type, and reported
