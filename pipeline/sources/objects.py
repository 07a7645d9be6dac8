"""Columns that hold labels as values, not as text: Hugging Face's ``objects``, lists of annotations, our own structs.

Each cell becomes a COCO record of one picture, so that labels take one way from here on. Boxes are COCO's: left, top,
width and height in pixels, which is the usual form of such datasets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.sources.columns import is_list

_CLASS_NAMES = ("category", "category_id", "label", "labels", "class", "class_id", "classes", "categories")


def is_label_column(type: pa.DataType) -> bool:
    """Whether a column is one of labels: a struct with ``annotations``, or boxes with their categories."""
    if pa.types.is_struct(type) and "annotations" in (names := _names(type)):
        return _is_list_of_structs(type.field(names.index("annotations")).type)
    return _objects_of(type) is not None


def label_reader(name: str, schema: pa.Schema) -> Callable[[Any], str]:
    """What turns a cell of the label column ``name`` into the JSON text of a COCO record.

    Class names come from the features that `datasets` keeps in the schema's metadata.
    """
    type = schema.field(name).type
    if pa.types.is_struct(type) and "annotations" in _names(type):
        return _dumped
    names = _class_names(schema, name)
    return lambda cell: _dumped({"annotations": [_annotation(each, names) for each in _rows(cell)]})


def _names(type: pa.DataType) -> list[str]:
    return [type.field(n).name for n in range(type.num_fields)]


def _is_list_of_structs(type: pa.DataType) -> bool:
    return is_list(type) and pa.types.is_struct(type.value_type)


def _objects_of(type: pa.DataType) -> list[str] | None:
    """The fields of one object, of a struct of lists or a list of structs that has boxes and categories."""
    if _is_list_of_structs(type):
        names = _names(type.value_type)
    elif pa.types.is_struct(type) and all(is_list(type.field(n).type) for n in range(type.num_fields)):
        names = _names(type)
    else:
        return None
    return names if "bbox" in names and set(names) & set(_CLASS_NAMES) else None


def _rows(cell: Any) -> list[dict[str, Any]]:
    if isinstance(cell, Mapping):
        count = max((len(column) for column in cell.values() if column is not None), default=0)
        columns = {name: list(column or []) for name, column in cell.items()}
        return [
            {name: column[n] if n < len(column) else None for name, column in columns.items()} for n in range(count)
        ]
    return [dict(each) for each in cell or []]


def _annotation(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    made = {name: value for name, value in found.items() if name not in _CLASS_NAMES and value is not None}
    for name in _CLASS_NAMES:
        value = found.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            made.setdefault("category_id", value)
            if 0 <= value < len(names):
                made.setdefault("category", names[value])
        elif value is not None:
            made["category"] = str(value)
    return made


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    """The names of the ClassLabel inside a column, from the features that `datasets` stored; empty without one."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return []
    open_nodes: list[Any] = [features.get(column) if isinstance(features, dict) else None]
    while open_nodes:
        node = open_nodes.pop(0)
        if isinstance(node, dict):
            if node.get("_type") == "ClassLabel" and isinstance(node.get("names"), list):
                return [str(name) for name in node["names"]]
            open_nodes += node.values()
        elif isinstance(node, list):
            open_nodes += node
    return []


def _dumped(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False, default=str, separators=(",", ":"))
