"""Labels that travel with their picture: read, look up, move along, store, export.

``load_table`` reads a label file of many pictures, ``parse_sample`` the JSON of one; ``align`` and ``Transform`` move
them; ``pipeline.labels.arrow`` and ``pipeline.labels.export`` write them.
"""

from __future__ import annotations

from typing import Literal

from pipeline.labels.bdd100k import load_bdd100k
from pipeline.labels.coco import load_coco
from pipeline.labels.geometry import Transform, align
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.sample import LabelFormat, parse_sample
from pipeline.labels.table import LabelTable

__all__ = [
    "Annotation",
    "LabelFormat",
    "LabelTable",
    "Labels",
    "Transform",
    "align",
    "load_bdd100k",
    "load_coco",
    "load_table",
    "parse_sample",
]


def load_table(data: bytes, format: Literal["coco", "bdd100k"], where: str = "the label file") -> LabelTable:
    """Read a label file of many pictures in a named format. ``where`` names it in errors.

    Raises:
        InputError: the file is unreadable or of another format.
    """
    return load_coco(data, where) if format == "coco" else load_bdd100k(data, where)
