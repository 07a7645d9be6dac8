"""YOLO text labels as Ultralytics, Darknet, CVAT and Label Studio write them: detect, segment, pose, obb.

One file per picture, one line per object: ``class x y w h`` (centre and size), ``class x1 y1 x2 y2 ...`` (polygon, of
four points in an obb data set) or ``class x y w h`` followed by keypoints; all but the class are shares of the
picture's sides. Class names and the number of keypoints stand in ``data.yaml``, ``classes.txt`` or ``obj.names``.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from typing import Any

from methods.counting import counted
from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.document import parse_json, parse_yaml
from pipeline.labels.files import UNREADABLE, LabelFiles
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import TableInfo, TableWriter

NAME_FILES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_YAML = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
BESIDE = (*_YAML, *NAME_FILES, "notes.json")
"""Files that hold class names, in the labels' folder or above it; the first that is there counts."""

_NOT_LABELS = {*NAME_FILES, "train.txt", "val.txt", "test.txt", "valid.txt", "README.txt", "README.roboflow.txt"}
_DARKNET = re.compile(r"^(.*/)?obj_\w+_data/")
_SLACK = 0.01
"""How far outside the picture a share may be: rounding of tools, in parts of a side."""


def read_yolo(files: LabelFiles, writer: TableWriter) -> None:
    """Put a folder of label files into a table.

    Raises:
        InputError: no label file there, or class names that cannot be read.
    """
    names = label_files(files)
    if not names:
        raise InputError(f"{files.where('')}: no YOLO label file (.txt) here; check source.labels.uri")
    try:
        classes, keypoints = _classes(files)
    except ValueError as error:
        raise InputError(f"{files.where('')}: class names cannot be read: {error}") from None
    writer.categories = [{"id": number, "name": name} for number, name in sorted(classes.items())]
    pictures = {posixpath.splitext(name)[0] for name in files.sizes if not name.endswith(".txt")}
    lengths: Counter[int] = Counter()
    # Darknet's folder says where the labels lie; without pictures in it, it says nothing of theirs, unless labels of
    # several sets lie side by side.
    plain = {name: _DARKNET.sub("", name) for name in names}
    again = Counter(plain.values())
    for number, name in enumerate(names):
        text = files.record(name)
        if not text.startswith(UNREADABLE):
            lengths.update(len(line.split()) for line in text.splitlines() if line.strip())
        picture = picture_of(name)
        if picture not in pictures and again[plain[name]] == 1:
            picture = _DARKNET.sub("", picture)
        writer.add(picture, text, file=number, path=name)
    writer.options = {"keypoints": keypoints, "obb": set(lengths) == {9} and keypoints is None}
    writer.finish()


def label_files(files: LabelFiles) -> list[str]:
    """The files of a listing that may hold the labels of one picture."""
    return [name for name in files.named(".txt") if posixpath.basename(name) not in _NOT_LABELS]


def picture_of(name: str) -> str:
    """The picture that a label file belongs to: ``labels/train/1.txt`` is for ``images/train/1``."""
    parts = name.removesuffix(".txt").split("/")
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "labels":
            parts[at] = "images"
            break
    return "/".join(parts)


def parse_yolo(text: str, size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels of one picture of ``size`` = (width, height) pixels, upright.

    Raises:
        ValueError: the size is not known.
    """
    if size is None:
        raise ValueError("YOLO labels need their picture's size")
    names = {each["id"]: str(each["name"]) for each in info.categories}
    keypoints = info.options.get("keypoints")
    left_out: list[str] = []

    def read(line: str, what: str) -> Annotation:
        found = _object(line.split(), size, names, keypoints, bool(info.options.get("obb")), what)
        if names and found.category_id not in names:
            left_out.append(f"{what}: class {found.category_id} is not declared: the number is kept, without a name")
        return found

    lines = [line for line in text.splitlines() if line.strip()]
    annotations, problems = fields.each_readable(lines, read, "line")
    return Labels(size[0], size[1], annotations, raw=text, problems=(*problems, *left_out))


def _object(
    words: list[str], size: tuple[int, int], names: dict[int, str], keypoints: Any, obb: bool, what: str
) -> Annotation:
    if len(words) < 5:
        raise ValueError(f"{what} has {counted(len(words), 'value')}, fewer than the five of a box")
    number = fields.whole(words[0], f"{what}: the class")
    if number < 0:
        raise ValueError(f"{what}: the class is {number}")
    shares = [fields.number(word, what) for word in words[1:]]
    name = names.get(number, str(number))
    points, dimensions = keypoints or (0, 0)
    if keypoints and len(shares) == 4 + points * dimensions:
        flat = _keypoints(shares[4:], dimensions, size, what)
        return Annotation(name, number, _box(shares[:4], size, what), attributes={"keypoints": flat})
    if len(shares) in (4, 5):
        extra: dict[str, Any] = {} if len(shares) == 4 else {"score": shares[4]}
        return Annotation(name, number, _box(shares[:4], size, what), attributes=extra)
    if len(shares) % 2 or len(shares) < 6:
        raise ValueError(f"{what} has {counted(len(words), 'value')}, neither a box nor a polygon")
    _check(shares, what)
    polygon = fields.polygon([share * size[at % 2] for at, share in enumerate(shares)], what)
    return Annotation(name, number, _extent(polygon), [polygon], attributes={"obb": True} if obb else {})


def _box(shares: list[float], size: tuple[int, int], what: str) -> tuple[float, float, float, float]:
    _check(shares, what)
    x, y, w, h = shares
    return fields.box((x - w / 2) * size[0], (y - h / 2) * size[1], w * size[0], h * size[1], what)


def _check(shares: list[float], what: str) -> None:
    outside = [share for share in shares if not -_SLACK <= share <= 1 + _SLACK]
    if outside:
        raise ValueError(f"{what} has {outside[0]:g}, which is no share of a picture's side (0 to 1)")


def _keypoints(values: list[float], dimensions: int, size: tuple[int, int], what: str) -> list[float]:
    """COCO's (x, y, visible); without a third value a point at (0, 0) is one that is not labelled."""
    out: list[float] = []
    for at in range(0, len(values), dimensions):
        x, y = values[at], values[at + 1]
        visible = values[at + 2] if dimensions == 3 else 2 * float((x, y) != (0, 0))
        if visible:
            _check([x, y], what)
        out += [x * size[0], y * size[1], visible] if visible else [0, 0, 0]
    return out


def _extent(polygon: list[float]) -> tuple[float, float, float, float]:
    xs, ys = polygon[0::2], polygon[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _classes(files: LabelFiles) -> tuple[dict[int, str], tuple[int, int] | None]:
    """(names by class, (number, 2 or 3) of the keypoints) from what stands in the folder or above it."""
    for name in _YAML:
        text = files.beside(name)
        if text is None:
            continue
        tree = fields.mapping(parse_yaml(text), name)
        return _named(tree.get("names"), name), _keypoint_shape(tree.get("kpt_shape"), name)
    for name in NAME_FILES:
        text = files.beside(name)
        if text is not None:
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip())), None
    notes = files.beside("notes.json")
    if notes is not None:
        found = fields.items(fields.mapping(parse_json(notes), "notes.json").get("categories"), "categories")
        return {fields.whole(each.get("id"), "id"): str(each.get("name")) for each in found}, None
    return {}, None


def _named(names: Any, where: str) -> dict[int, str]:
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    return {fields.whole(key, f"{where}: a class"): str(name) for key, name in fields.mapping(names, where).items()}


def _keypoint_shape(shape: Any, where: str) -> tuple[int, int] | None:
    if shape is None:
        return None
    found = json.loads(json.dumps(shape, default=str))
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError(f"{where}: kpt_shape is not [number, 2 or 3]")
    points, dimensions = (fields.whole(each, f"{where}: kpt_shape") for each in found)
    if points < 1 or dimensions not in (2, 3):
        raise ValueError(f"{where}: kpt_shape is not [number, 2 or 3]")
    return points, dimensions
