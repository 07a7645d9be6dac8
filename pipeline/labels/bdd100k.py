"""BDD100K label JSON (https://doc.bdd100k.com/format.html): whole files, folders of files, and single frames.

Read are the 2020 layout (a list of frames, or ``{"frames": [...]}``, each with ``labels``: det, seg, lane, drivable),
the list of 2018, and the 2018 file of one picture (``{"name", "attributes", "frames": [{"objects": [...]}]}`` with
polygons as ``[[x, y, "L"], ...]``), and bitmasks: PNGs that hold a picture's objects. Several files
about the same pictures are put together.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from methods.counting import counted
from methods.errors import BadSample, InputError
from pipeline.labels import fields
from pipeline.labels.bitmask import INSTANCES, PANOPTIC, read_bitmask
from pipeline.labels.compact_json import compact_json
from pipeline.labels.files import UNREADABLE, LabelFiles
from pipeline.labels.json_stream import JsonStream
from pipeline.labels.names import PictureName
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import TableInfo, TableWriter

_OWN = {"id", "category", "attributes", "box2d", "poly2d", "rle"}
_BITMASK = "bitmask.png"
_MAPS = ("sem_seg", "drivable", "lane")
_PLACES = {"box2d", "poly2d", "rle"}
_SPLIT = re.compile(r"_(train|val|test)\.json$")


def read_bdd100k(files: LabelFiles, writer: TableWriter) -> None:
    """Put the frames of one or many BDD100K files into a table; lists of frames stream.

    Single labels are checked when their picture is looked up.

    Raises:
        InputError: not JSON (line and column are named), or not BDD100K frames.
    """
    names = files.named(".json")
    pngs = files.named(".png")
    if not names and not pngs:
        raise InputError(
            f"{files.where('')}: no .json file and no bitmask here; give source.labels.uri BDD100K files, "
            "or a folder of them"
        )
    again = Counter(map(_last_two, names))
    for number, name in enumerate(names):
        try:
            _read_file(files, name, number, writer, alone=again[_last_two(name)] == 1)
        except ValueError as error:
            raise InputError(
                f"{files.where(name)} is no BDD100K label file: {error}; "
                "give source.labels.uri a list of frames with name and labels"
            ) from None
    known = {name for name in pngs if is_bitmask(files, name)} or (set() if names else set(pngs))
    for number, name in enumerate(sorted(known), start=len(names)):
        stem, folder = posixpath.splitext(posixpath.basename(name))[0], posixpath.basename(posixpath.dirname(name))
        # As the frames of a label file are called, so that both are known to be of one picture.
        frame = compact_json({"name": f"{stem}.jpg"})
        writer.add(f"{stem}.jpg", frame, file=number, id="0", hint=folder, drawn={_BITMASK: files.uri(name)})
    if known:
        classes = PANOPTIC if any("pan_seg" in files.uri(name) for name in known) else INSTANCES
        writer.categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    for number, (name, member) in enumerate(_label_maps(files, pngs), start=len(names) + len(known)):
        stem, folder = posixpath.splitext(posixpath.basename(name))[0], posixpath.basename(posixpath.dirname(name))
        frame = compact_json({"name": f"{stem}.jpg"})
        writer.add(f"{stem}.jpg", frame, file=number, id="0", hint=folder, masks={member: files.uri(name)})
    writer.finish(merge=_merged)


def is_bitmask(files: LabelFiles, name: str) -> bool:
    """Whether a PNG lies where BDD100K has its bitmasks (``ins_seg/bitmasks/train/...``)."""
    return "bitmasks" in files.uri(name).split("/")[:-1]


def _label_maps(files: LabelFiles, pngs: list[str]) -> list[tuple[str, str]]:
    """(file, mask member) of the maps of 8 bits: ``sem_seg/masks``, ``drivable/masks``, ``lane/masks``."""
    found = []
    for name in pngs:
        parts = files.uri(name).split("/")[:-1]
        task = next((task for task in _MAPS if task in parts), None)
        if task is not None and "masks" in parts:
            found.append((name, f"{task}.png"))
    return found


def with_bitmask(labels: Labels, drawn: Mapping[str, bytes], size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels with the objects of the picture's bitmask, unless a label file has drawn them already."""
    names = tuple(str(each["name"]) for each in info.categories)
    if any(each.rle or (each.segmentation and each.category in names) for each in labels.annotations):
        return labels
    try:
        found = [each for data in drawn.values() for each in read_bitmask(data, size, names)]
    except BadSample as error:
        raise ValueError(f"the bitmask cannot be read: {error}") from None
    sides = (labels.width, labels.height) if labels.width or size is None else size
    return replace(labels, width=sides[0], height=sides[1], annotations=[*labels.annotations, *found])


def _last_two(name: str) -> str:
    return "/".join(name.split("/")[-2:])


def _read_file(files: LabelFiles, name: str, number: int, writer: TableWriter, *, alone: bool) -> None:
    """Add what a file holds. Where it is not ``alone`` in being called so in a folder of this name, that of one picture
    is for the picture of its own folders.
    """
    folder, base = posixpath.split(name)
    split = _SPLIT.search(base)
    hint = split.group(1) if split else posixpath.basename(folder)
    frames = 0
    whole: dict[str, Any] = {}
    with files.open(name) as file:
        stream = JsonStream(file)
        for entry in stream:
            inside = entry.listed and (entry.key is None or (entry.key == "frames" and _is_frame(entry.value)))
            if inside:
                frame = fields.mapping(entry.value, f"frame {frames}")
                called = frame.get("name")
                if not isinstance(called, str) or not called:
                    raise ValueError(f"frame {frames} has no name")
                writer.add(called, entry.text, file=number, id=str(frames), hint=hint)
                writer.classes |= _classes(frame)
                frames += 1
            elif entry.listed:
                whole.setdefault(str(entry.key), []).append(entry.value)
            elif entry.key is not None:
                whole[entry.key] = entry.value
    if stream.kind == "value":
        raise ValueError("the document is neither a list nor an object")
    if stream.kind == "object" and not frames:
        whole |= {key: [] for key in stream.lists if key not in whole}
        if not {"labels", "frames", "attributes", "name"} & whole.keys():
            raise ValueError(f"it has {fields.listed(whole)} and no frames")
        if not isinstance(whole.get("frames", []), list):
            raise ValueError("frames is not a list")
        if whole.get("frames") == [] and "name" not in whole:
            return
        called = whole.get("name") or (posixpath.splitext(base)[0] if not files.single else None)
        if not isinstance(called, str):
            raise ValueError("frame 0 has no name")
        own = PictureName.parse(called).stem == posixpath.splitext(base)[0]
        if not alone:
            called = posixpath.join(folder, posixpath.basename(called))
        writer.add(called, compact_json(whole), file=number, id="0", hint=hint, path=name if own else None)
        writer.classes |= _classes(whole)


def _is_frame(value: Any) -> bool:
    """Whether a member of ``frames`` is a picture of its own (2020) and not the inside of one (2018)."""
    return not (isinstance(value, dict) and "objects" in value and "name" not in value)


def _merged(texts: list[str]) -> str:
    """One frame from those that several files (detection, lanes, drivable areas) have of a picture.

    Of files that cannot be about one picture, because they contradict each other or more than one has boxes, none is
    taken: their picture says so.
    """
    frames = [json.loads(text) for text in texts]
    if sum(any("box2d" in each for each in objects(frame) if isinstance(each, dict)) for frame in frames) > 1:
        return f"{UNREADABLE}{counted(len(frames), 'label file')} are called like its own, and more than one has boxes"
    made: dict[str, Any] = {}
    for frame in frames:
        for key in ("videoName", "attributes", "size"):
            if frame.get(key) and made.get(key) and frame[key] != made[key]:
                return f"{UNREADABLE}label files that are called like its own contradict each other in {key}"
        made |= {key: value for key, value in frame.items() if key not in ("frames", "labels") and value is not None}
    made["labels"] = [each for frame in frames for each in objects(frame)]
    return compact_json(made)


def parse_frame(frame: dict[str, Any], raw: str) -> Labels:
    """The labels of one frame.

    Raises:
        ValueError: the frame itself is of the wrong kind. Labels that are go to ``problems``.
    """
    size = fields.mapping(frame.get("size"), "size")
    left_out: list[str] = []

    def read(value: Any, what: str) -> Annotation:
        return annotation(value, what, left_out)

    annotations, problems = fields.each_readable(objects(frame), read, "labels")
    return Labels(
        width=fields.size(size.get("width"), "size.width"),
        height=fields.size(size.get("height"), "size.height"),
        annotations=annotations,
        attributes=fields.text_values(frame.get("attributes"), "attributes"),
        raw=raw,
        problems=(*problems, *left_out),
    )


def objects(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The label objects of a frame of either layout: the very dictionaries inside it."""
    if not _is_old(frame):
        return _list(frame.get("labels"), "labels")
    if len(frame["frames"]) > 1:
        raise ValueError(f"the record of one sample holds {len(frame['frames'])} frames")
    return _list(frame["frames"][0].get("objects"), "objects")


def _classes(frame: dict[str, Any]) -> set[str]:
    """Names of the classes of a frame; one that cannot be read is said when its picture is looked up."""
    try:
        found = objects(frame)
    except ValueError:
        return set()
    return {str(each["category"]) for each in found if isinstance(each, dict) and each.get("category")}


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} is not a list")
    return value


def _is_old(frame: dict[str, Any]) -> bool:
    inner = frame.get("frames")
    return isinstance(inner, list) and bool(inner) and isinstance(inner[0], dict) and "objects" in inner[0]


def annotation(value: Any, what: str, left_out: list[str]) -> Annotation:
    """One label object; parts of it that cover nothing are left out and noted.

    Raises:
        ValueError: a field of the wrong kind, no class, or nothing left that has a place.
    """
    found = fields.mapping(value, what)
    notes: list[str] = []
    bbox = None
    if found.get("box2d") is not None:
        bbox = fields.part(lambda: _box(found["box2d"], f"{what}.box2d"), notes)
    category = str(found.get("category") or "")
    if "category" in found and not category:
        raise ValueError(f"{what}.category is empty: it has no class")
    extra = {key: value for key, value in found.items() if key not in _OWN}
    extra.update(fields.mapping(found.get("attributes"), f"{what}.attributes"))
    polygons = rle = None
    if found.get("poly2d"):
        read = [_shape(each, category, f"{what}.poly2d") for each in _shapes(found["poly2d"], f"{what}.poly2d")]
        shapes = [shape for at, shape in enumerate(read) if _covers(shape, f"{what}.poly2d[{at}]", notes)]
        if shapes:
            polygons = [vertices for vertices, _, _ in shapes]
            extra["poly2d"] = [{"types": types, "closed": closed} for _, types, closed in shapes]
    if found.get("rle"):
        rle = fields.part(lambda: fields.rle(found["rle"], f"{what}.rle"), notes)
    if not found.keys().isdisjoint(_PLACES):
        fields.placed((bbox, polygons, rle), notes, what)
    made = Annotation(
        category=category,
        bbox=bbox,
        segmentation=polygons,
        rle=rle,
        iscrowd=fields.flag(extra.get("crowd"), f"{what}.crowd"),
        id=fields.text_id(found.get("id")),
        attributes=extra,
    )
    left_out += notes
    return made


def _box(value: Any, what: str) -> tuple[float, float, float, float]:
    box = fields.mapping(value, what)
    x1, y1, x2, y2 = (fields.number(box.get(side), f"{what}.{side}") for side in ("x1", "y1", "x2", "y2"))
    return fields.box(x1, y1, x2 - x1, y2 - y1, what)


def _covers(shape: tuple[list[float], str, bool], what: str, left_out: list[str]) -> bool:
    """Whether a shape covers something: lines always do, and what is curved does not lie on one line."""
    flat, types, closed = shape
    return not closed or "C" in types or fields.part(lambda: fields.polygon(flat, what), left_out) is not None


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
        vertices = shape.get("vertices")
        closed = fields.flag(shape.get("closed", True), f"{what}.closed")
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
