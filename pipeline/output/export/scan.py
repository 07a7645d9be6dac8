"""The first look at what is to be exported: how much, which classes, which names. Reads a few columns of the index."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from pipeline.labels.categories import Class
from pipeline.output.export.rows import Rows
from pipeline.output.export.splits import key_hash
from pipeline.sink.names import UniqueNames, file_stem

# Its functions are made when it is imported, where type checkers do not see them.
pc: Any = pyarrow.compute


@dataclass
class Scan:
    """What a look at the index gave.

    Attributes:
        pictures: rows to be exported.
        classes: (id, name) of annotations with a box or an area, counted.
        declared: categories as the records of single pictures declare them, where that was asked for.
        unmasked: annotations with a box and without polygons or mask.
        masked: annotations with polygons or a mask.
        clash: whether the last parts of the keys are not all different.
        hashes: of all keys, for the splits.
    """

    pictures: int = 0
    classes: Counter[Class] = field(default_factory=Counter)
    declared: list[dict[str, Any]] = field(default_factory=list)
    unmasked: int = 0
    masked: int = 0
    clash: bool = False
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))


def scan(rows: Rows, seed: int, variants: int, declared: Sequence[dict[str, Any]] | None) -> Scan:
    """Look through the whole index.

    Args:
        declared: the source's category list; ``None`` where it is not known, then the records of single pictures are
            asked, which hold the categories that they use.
    """
    found = Scan(declared=list(declared or ()))
    hashes = array("Q")
    bases = UniqueNames()
    known: dict[str, dict[str, Any]] = {}
    columns = ["key", "variant", "labels", *([] if declared is not None else ["labels_raw"])]
    for table in rows.tables(columns):
        found.pictures += table.num_rows
        for key, variant in zip(table["key"].to_pylist(), table["variant"].to_pylist(), strict=True):
            hashes.append(key_hash(key, seed))
            base = file_stem(key, variant, variants).rpartition("/")[2]
            found.clash = bases.new(base, key) != base or found.clash
        _annotations(found, table["labels"].combine_chunks())
        if declared is None:
            for raw in table["labels_raw"].to_pylist():
                known |= {json.dumps(each.get("id")): each for each in _categories(raw)}
    if declared is None:
        found.declared = [known[name] for name in sorted(known, key=lambda name: (len(name), name))]
    found.hashes = np.frombuffer(hashes, np.uint64) if hashes else found.hashes
    return found


def _annotations(found: Scan, labels: Any) -> None:
    annotations = pc.list_flatten(pc.struct_field(labels, "annotations"))
    if isinstance(annotations, pa.ChunkedArray):
        annotations = annotations.combine_chunks()
    if not len(annotations):
        return
    boxed = pc.is_valid(pc.struct_field(annotations, "bbox"))
    # Lines are no areas: no format but BDD100K has a place for them, nor for their classes.
    line = pc.match_substring(pc.struct_field(annotations, "attributes"), '"closed":false')
    polygons = pc.and_(pc.is_valid(pc.struct_field(annotations, "segmentation")), pc.invert(line))
    shaped = pc.or_(polygons, pc.is_valid(pc.struct_field(annotations, "rle_counts")))
    found.masked += pc.sum(shaped).as_py()
    found.unmasked += pc.sum(pc.and_(boxed, pc.invert(shaped))).as_py()
    columns = {name: pc.struct_field(annotations, name) for name in ("category_id", "category")}
    table = pa.table(columns).filter(pc.or_(boxed, shaped))
    for row in (
        table.group_by(["category_id", "category"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    ):
        found.classes[row["category_id"], row["category"] or ""] += row["count_all"]


def _categories(raw: str | None) -> list[dict[str, Any]]:
    """The category list of one picture's COCO record; empty for any other."""
    try:
        record = json.loads(raw or "null")
    except ValueError:
        return []
    listed = record.get("categories") if isinstance(record, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
