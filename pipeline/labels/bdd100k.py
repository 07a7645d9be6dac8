"""BDD100K label JSON (https://doc.bdd100k.com/format.html): whole files, and single frames.

Read are the 2020 layout (a list of frames, or ``{"frames": [...]}``, each with ``labels``) and the 2018 file of one
picture (``{"name", "attributes", "frames": [{"objects": [...]}]}`` with polygons as ``[[x, y, "L"], ...]``).
"""

from __future__ import annotations

import json
from typing import Any

from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.document import parse_file
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import LabelTable

_OWN = {"id", "category", "attributes", "box2d", "poly2d", "rle"}


def load_bdd100k(data: bytes, where: str = "the label file") -> LabelTable:
    """Read a BDD100K file of one or many frames.

    Single labels are checked when their picture is looked up.

    Raises:
        InputError: not JSON (line and column are named), or not BDD100K frames.
    """
    document = parse_file(data, where)
    try:
        table = LabelTable(parse_frame, [])
        if isinstance(document, dict) and not _is_old(document) and "frames" in document:
            frames = fields.items(document["frames"], "frames")
        else:
            frames = fields.items(document if isinstance(document, list) else [document], "the document")
        for at, frame in enumerate(frames):
            name = frame.get("name")
            if not isinstance(name, str) or not name:
                raise ValueError(f"frame {at} has no name")
            table.add(name, json.dumps(frame, ensure_ascii=False, separators=(",", ":")))
    except ValueError as error:
        raise InputError(
            f"{where} is no BDD100K label file: {error}; give labels.uri a list of frames with name and labels"
        ) from None
    return table


def parse_frame(frame: dict[str, Any], raw: str) -> Labels:
    """The labels of one frame.

    Raises:
        ValueError: a field of the wrong kind.
    """
    size = fields.mapping(frame.get("size"), "size")
    return Labels(
        width=fields.size(size.get("width"), "size.width"),
        height=fields.size(size.get("height"), "size.height"),
        annotations=[_annotation(each, f"labels[{at}]") for at, each in enumerate(objects(frame))],
        attributes=fields.text_values(frame.get("attributes"), "attributes"),
        raw=raw,
    )


def objects(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The label objects of a frame of either layout: the very dictionaries inside it."""
    if not _is_old(frame):
        return fields.items(frame.get("labels"), "labels")
    if len(frame["frames"]) > 1:
        raise ValueError(f"the record of one sample holds {len(frame['frames'])} frames")
    return [each for inner in frame["frames"] for each in fields.items(inner.get("objects"), "objects")]


def _is_old(frame: dict[str, Any]) -> bool:
    inner = frame.get("frames")
    return isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict) and "objects" in inner[0]


def _annotation(found: dict[str, Any], what: str) -> Annotation:
    bbox = None
    if found.get("box2d") is not None:
        box = fields.mapping(found["box2d"], f"{what}.box2d")
        x1, y1, x2, y2 = (fields.number(box.get(side), f"{what}.box2d.{side}") for side in ("x1", "y1", "x2", "y2"))
        bbox = fields.box(x1, y1, x2 - x1, y2 - y1, f"{what}.box2d")
    category = str(found.get("category") or "")
    extra = {key: value for key, value in found.items() if key not in _OWN}
    extra.update(fields.mapping(found.get("attributes"), f"{what}.attributes"))
    polygons = None
    if found.get("poly2d"):
        shapes = [_shape(each, category, f"{what}.poly2d") for each in _shapes(found["poly2d"], f"{what}.poly2d")]
        polygons = [vertices for vertices, _, _ in shapes]
        extra["poly2d"] = [{"types": types, "closed": closed} for _, types, closed in shapes]
    return Annotation(
        category=category,
        bbox=bbox,
        segmentation=polygons,
        rle=fields.rle(found["rle"], f"{what}.rle") if found.get("rle") else None,
        iscrowd=bool(extra.get("crowd", False)),
        id=fields.text_id(found.get("id")),
        attributes=extra,
    )


def _shapes(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is not a list")
    # 2018: the list is one polygon of [x, y, kind]; 2020: a list of {vertices, types, closed}.
    return [value] if isinstance(value[0], list) else value


def _shape(value: Any, category: str, what: str) -> tuple[list[float], str, bool]:
    """(flat vertices, one letter L or C a vertex, closed)."""
    if isinstance(value, list):
        if any(not isinstance(each, list) or len(each) != 3 for each in value):
            raise ValueError(f"{what} has a vertex that is not [x, y, kind]")
        vertices, types = [each[:2] for each in value], "".join(str(each[2]) for each in value)
        closed = not category.startswith("lane")
    else:
        shape = fields.mapping(value, what)
        vertices, closed = shape.get("vertices"), bool(shape.get("closed", True))
        if not isinstance(vertices, list):
            raise ValueError(f"{what} has no vertices")
        types = shape.get("types") or "L" * len(vertices)
    flat: list[float] = []
    for vertex in vertices:
        pair = fields.numbers(vertex, f"{what}.vertices")
        if len(pair) != 2:
            raise ValueError(f"{what} has a vertex of {len(pair)} numbers")
        flat += pair
    if not isinstance(types, str) or len(types) != len(vertices) or set(types) - {"L", "C"}:
        raise ValueError(f"{what}.types is not one L or C a vertex")
    return flat, types, closed
