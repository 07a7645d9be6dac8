"""Labels that travel with their picture: read, look up, move along, change, store, export.

``open_table`` reads a label source of many pictures, ``parse_sample`` the JSON of one; ``align`` and ``Transform`` move
them; ``pipeline.labels.arrow`` and ``pipeline.labels.export`` write them.
"""

from __future__ import annotations

from pipeline.labels.formats import LabelFormat, parse_record, parse_sample
from pipeline.labels.geometry import Transform, align
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.source import TableSource, open_table
from pipeline.labels.table import LabelTable

__all__ = [
    "Annotation",
    "LabelFormat",
    "LabelTable",
    "Labels",
    "TableSource",
    "Transform",
    "align",
    "open_table",
    "parse_record",
    "parse_sample",
]
