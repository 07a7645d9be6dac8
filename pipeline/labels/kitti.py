"""KITTI object labels (https://www.cvlibs.net/datasets/kitti/eval_object.php): one text file per picture.

A line is ``type truncated occluded alpha left top right bottom height width length x y z rotation_y [score]``: the box
in pixels counted from 0, sizes and place of the object in metres in the camera's coordinates, angles in radians.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from methods.counting import counted
from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.files import LabelFiles
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import TableInfo, TableWriter

_VALUES = 15
_FOLDER = re.compile(r"/label_\d/[^/]*$")


def read_kitti(files: LabelFiles, writer: TableWriter) -> None:
    """Put a folder of label files into a table (``label_2/000001.txt`` is for ``image_2/000001``).

    Raises:
        InputError: no text file there.
    """
    names = files.named(".txt")
    # Calibrations and lists of splits are text files too.
    names = [name for name in names if _FOLDER.search(files.uri(name))] or names
    if not names:
        raise InputError(f"{files.where('')}: no KITTI label file (.txt) here; check source.labels.uri")
    for number, name in enumerate(names):
        text = files.record(name)
        writer.classes.update(line.split()[0] for line in text.splitlines() if len(line.split()) >= _VALUES)
        folder, base = posixpath.split(name)
        parts = [part.replace("label_", "image_") if part.startswith("label_") else part for part in folder.split("/")]
        writer.add(posixpath.join(*parts, posixpath.splitext(base)[0]), text, file=number, path=name)
    writer.finish()


def parse_kitti(text: str, size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels of one picture. Lines that cannot be read go to ``problems``."""
    lines = [line for line in text.splitlines() if line.strip()]
    annotations, problems = fields.each_readable(lines, _annotation, "line")
    return Labels(annotations=annotations, raw=text, problems=problems)


def _annotation(line: str, what: str) -> Annotation:
    words = line.split()
    if len(words) not in (_VALUES, _VALUES + 1):
        raise ValueError(f"{what} has {counted(len(words), 'value')}, not the {_VALUES} of KITTI")
    numbers = [fields.number(word, what) for word in words[1:]]
    left, top, right, bottom = numbers[3:7]
    extra: dict[str, Any] = {
        "truncated": numbers[0],
        "occluded": fields.whole(numbers[1], f"{what}: occluded"),
        "alpha": numbers[2],
        "dimensions": numbers[7:10],
        "location": numbers[10:13],
        "rotation_y": numbers[13],
    }
    if len(numbers) == _VALUES:
        extra["score"] = numbers[14]
    return Annotation(words[0], bbox=fields.box(left, top, right - left, bottom - top, what), attributes=extra)
