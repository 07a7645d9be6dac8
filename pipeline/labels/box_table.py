"""Tables with one row per object, as tutorials and TensorFlow's tools write them: found, and read nowhere."""

from __future__ import annotations

import csv
import re

from pipeline.labels.names import IMAGE_ENDINGS

HEAD = 4096
"""Characters of a table that are looked at."""

ADVICE = "a table of boxes with a row for each object, which is not read: convert it to COCO"

_CORNERS = (
    {"xmin", "ymin", "xmax", "ymax"},
    {"x1", "y1", "x2", "y2"},
    {"left", "top", "right", "bottom"},
    {"left", "top", "width", "height"},
    {"bboxx", "bboxy", "bboxwidth", "bboxheight"},
    {"bboxx", "bboxy", "bboxw", "bboxh"},
    {"regionshapeattributes"},
    {"bbox"},
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def is_box_table(text: bytes | str) -> bool:
    """Whether a table's first line names a box's sides as columns, or is itself a picture, four numbers and a class."""
    head = text[:HEAD].decode("utf-8", "replace") if isinstance(text, bytes) else text[:HEAD]
    line = next(iter(head.lstrip("\ufeff").splitlines()), "")
    try:
        cells = next(csv.reader([line], delimiter="\t" if "\t" in line else ";" if ";" in line else ","), [])
    except csv.Error:
        return False
    if names_a_box(cells):
        return True
    picture = cells[0].rpartition(".")[2].lower() in IMAGE_ENDINGS if cells else False
    return picture and len(cells) >= 6 and all(_NUMBER.fullmatch(each.strip()) for each in cells[1:5])


def names_a_box(columns: list[str]) -> bool:
    """Whether these columns hold the sides of a box."""
    names = {re.sub(r"[^a-z0-9]", "", each.lower()) for each in columns}
    return any(sides <= names for sides in _CORNERS)
