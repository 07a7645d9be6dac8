"""COCO JSON (https://cocodataset.org/#format-data): instances, keypoints, captions, panoptic; files and single records.

Exports of Label Studio, CVAT and Roboflow in this format are read too. Files of several kinds about the same pictures
(``instances_val2017.json`` beside ``captions_val2017.json``) are put together by image id and file name.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any

from methods.counting import counted
from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.compact_json import compact_json
from pipeline.labels.files import LabelFiles
from pipeline.labels.json_stream import JsonStream, JsonValue
from pipeline.labels.records import Annotation, Labels, Rle
from pipeline.labels.table import TableWriter, category_list
from pipeline.storage import Store

_OWN = {"id", "image_id", "category_id", "category", "category_name", "bbox", "segmentation", "area", "iscrowd"}
_PLACES = {"bbox", "segmentation", "keypoints"}
_LISTS = ("images", "annotations")
_MOST_CATEGORIES = 100_000
_SPLIT = re.compile(r"_([A-Za-z]+\d*)\.json$")
PANOPTIC = "panoptic.png"
"""Name of the mask member that a panoptic picture gets: segment id = R + 256 G + 65536 B."""


def read_coco(files: LabelFiles, writer: TableWriter) -> None:
    """Put every picture of one or more COCO files into a table; annotations stream.

    Single annotations are checked when their picture is looked up, so that one wrong box costs itself and not the job.

    Raises:
        InputError: not JSON (line and column are named), not a COCO file, two files that contradict each other, or
            pictures that share an id.
    """
    names = files.named(".json")
    if not names:
        raise InputError(
            f"{files.where('')}: no .json file here; give source.labels.uri a COCO file, or a folder of them"
        )
    categories: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        with files.open(name) as file:
            stream = JsonStream(file)
            try:
                found = _read_file(stream, files, name, number, writer)
                _merge_categories(categories, found, writer)
            except ValueError as error:
                raise InputError(
                    f"{files.where(name)} is no COCO label file: {error}; "
                    "give source.labels.uri a file with images, annotations and categories"
                ) from None
    if (shared := writer.shared_id()) is not None:
        raise InputError(
            f"{files.where('' if len(names) > 1 else names[0])}: several pictures have the id {shared[0]} "
            f"({', '.join(shared[1])}), so that their annotations cannot be distinguished; give each an id of its own"
        )
    texts = {key: compact_json(category) for key, category in categories.items()}
    order = {key: number for number, key in enumerate(texts)}

    def compose(image: str, annotations: list[str], used: set[str]) -> str:
        listed = ",".join(texts[key] for key in sorted(used & texts.keys(), key=order.__getitem__))
        return f'{{"image":{image},"annotations":[{",".join(annotations)}],"categories":[{listed}]}}'

    writer.finish(compose, _merged)


def _read_file(
    stream: JsonStream, files: LabelFiles, name: str, number: int, writer: TableWriter
) -> list[dict[str, Any]]:
    """Put one file's pictures and annotations into the writer; returns its categories."""
    folder, base = posixpath.split(name)
    split = _SPLIT.search(base)
    hint = split.group(1) if split else posixpath.basename(folder)
    categories: list[dict[str, Any]] = []
    plain: dict[str | None, Any] = {}
    pngs: dict[str, str] = {}
    images = annotations = 0
    for entry in stream:
        if entry.key == "images" and entry.listed:
            _add_image(entry, images, number, hint, writer)
            images += 1
        elif entry.key == "annotations" and entry.listed:
            found = fields.mapping(entry.value, f"annotations[{annotations}]")
            annotations += 1
            image = fields.identity(found.get("image_id"))
            used = [found]
            if isinstance(found.get("segments_info"), list):
                used = [each for each in found["segments_info"] if isinstance(each, dict)]
                pngs[image] = str(found.get("file_name", ""))
            writer.add_part(
                entry.text,
                file=number,
                id=image,
                categories={fields.identity(each.get("category_id")) for each in used},
            )
        elif entry.key == "categories" and entry.listed:
            categories.append(fields.mapping(entry.value, f"categories[{len(categories)}]"))
            if len(categories) > _MOST_CATEGORIES:
                raise ValueError(f"more than {_MOST_CATEGORIES:,} categories")
        elif entry.key in _LISTS and not entry.listed:
            plain[entry.key] = entry.value
    if stream.kind != "object":
        raise ValueError(f"the document is a {stream.kind}, not an object")
    for needed in _LISTS:
        if plain.get(needed) is not None:
            raise ValueError(f"{needed} is not a list")
        if needed not in stream.lists and needed not in plain:
            raise ValueError(f"there is no '{needed}' in it")
    if pngs:
        pictures = posixpath.join(folder, posixpath.splitext(base)[0])
        if Store(files.base, files.options).exists(posixpath.join(pictures, next(iter(pngs.values())))):
            writer.add_masks(
                number, {image: {PANOPTIC: files.uri(posixpath.join(pictures, png))} for image, png in pngs.items()}
            )
        else:
            writer.notes.append(f"{files.where(name)}: the panoptic PNGs are not in {files.where(pictures)}")
    return categories


def _add_image(entry: JsonValue, at: int, file: int, hint: str, writer: TableWriter) -> None:
    image = fields.mapping(entry.value, f"images[{at}]")
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"images[{at}] has no file_name")
    writer.add(name, entry.text, file=file, id=fields.identity(image.get("id")), hint=hint)


def _merge_categories(known: dict[str, dict[str, Any]], found: list[dict[str, Any]], writer: TableWriter) -> None:
    for category in found:
        key = fields.identity(category.get("id"))
        before = known.get(key)
        if before is None:
            known[key] = category
            writer.categories.append(category)
        elif before.get("name") != category.get("name"):
            names = [fields.listed([each.get("name")]) for each in (category, before)]
            raise ValueError(f"category {fields.listed([key])} is '{names[0]}' here and '{names[1]}' before")


def _merged(texts: list[str]) -> str:
    """One record from those of several files: annotations of one id and class are the same object, seen twice."""
    records = [json.loads(text) for text in texts]
    annotations: dict[tuple[Any, ...], dict[str, Any]] = {}
    for at, record in enumerate(records):
        for place, found in enumerate(record["annotations"]):
            known = "id" in found and "category_id" in found
            key = (fields.identity(found["id"]), fields.identity(found["category_id"])) if known else (at, place, "")
            annotations[key] = {**annotations.get(key, {}), **found}
    categories = category_list([each for record in records for each in record["categories"]])
    image: dict[str, Any] = {}
    for record in records:
        image |= record["image"]
    return compact_json({"image": image, "annotations": [*annotations.values()], "categories": [*categories.values()]})


def parse_record(record: dict[str, Any], raw: str, declares: bool = False) -> Labels:
    """The labels of one picture from ``{image, annotations, categories}`` (``image`` may be missing, or a list
    ``images`` of one; width and height may also stand beside ``annotations``).

    Args:
        declares: whether the record comes from a file that declares its categories, so that ``categories`` has all
            that its annotations may use. A record that has some by itself declares them.

    Raises:
        ValueError: the record itself is of the wrong kind. Annotations that are go to ``problems``.
    """
    images = fields.items(record.get("images"), "images")
    if len(images) > 1:
        raise ValueError(f"the record of one sample lists {len(images)} images")
    beside = {name: record.get(name) for name in ("width", "height")}
    image = {**beside, **(images[0] if images else {})}
    if isinstance(record.get("image"), dict):
        image.update(record["image"])
    width, height = fields.size(image.get("width"), "width"), fields.size(image.get("height"), "height")
    names = {
        fields.identity(category.get("id")): str(category.get("name", ""))
        for category in fields.items(record.get("categories"), "categories")
    }
    parts: list[str] = []
    known = names if names or declares else None

    def read(each: Any, what: str) -> list[Annotation]:
        found = fields.mapping(each, what)
        if "segments_info" in found:
            return [
                _segment(segment, known, f"{what}.segments_info[{at}]", parts)
                for at, segment in enumerate(fields.items(found["segments_info"], f"{what}.segments_info"))
            ]
        return [_annotation(found, known, (width, height), what, parts)]

    if record.get("annotations") is not None and not isinstance(record["annotations"], list):
        raise ValueError("annotations is not a list")
    read_ones, problems = fields.each_readable(record.get("annotations") or [], read, "annotations")
    return Labels(
        width=width,
        height=height,
        annotations=[each for group in read_ones for each in group],
        attributes=fields.text_values(image.get("attributes"), "attributes"),
        raw=raw,
        problems=(*problems, *parts),
    )


def _annotation(
    found: dict[str, Any],
    names: dict[str, str] | None,
    size: tuple[int | None, int | None],
    what: str,
    left_out: list[str],
    *,
    placed: bool = False,
) -> Annotation:
    """One annotation; parts of it that cover nothing (a polygon of two points) are left out and noted.

    Args:
        names: of the declared categories, by id; ``None`` where nothing is declared.
        placed: whether its place is known from elsewhere.
    """
    notes: list[str] = []
    bbox = fields.part(lambda: _box(found["bbox"], f"{what}.bbox"), notes) if found.get("bbox") else None
    shape = found.get("segmentation")
    polygons = rle = None
    if isinstance(shape, dict):
        rle = fields.part(lambda: _mask(shape, size, f"{what}.segmentation"), notes)
    elif shape:
        polygons = _polygons(shape, f"{what}.segmentation", notes) or None
    extra = {key: value for key, value in found.items() if key not in _OWN and key != "attributes"}
    extra.update(fields.mapping(found.get("attributes"), f"{what}.attributes"))
    if extra.get("keypoints") is not None:
        extra["keypoints"] = _keypoints(extra["keypoints"], f"{what}.keypoints")
    name, number = _category(found, names, what, notes)
    # What names no place at all is about the whole picture: a caption, or a class of a picture.
    if not placed and not found.keys().isdisjoint(_PLACES) and not isinstance(extra.get("caption"), str):
        fields.placed((bbox, polygons, rle, any((extra.get("keypoints") or [])[2::3])), notes, what)
    made = Annotation(
        category=name,
        category_id=number,
        bbox=bbox,
        segmentation=polygons,
        rle=rle,
        area=None if found.get("area") is None else fields.number(found["area"], f"{what}.area"),
        iscrowd=fields.flag(found.get("iscrowd"), f"{what}.iscrowd"),
        id=fields.text_id(found.get("id")),
        attributes=extra,
    )
    left_out += notes
    return made


def _box(value: Any, what: str) -> tuple[float, float, float, float]:
    sides = fields.numbers(value, what)
    if len(sides) != 4:
        raise ValueError(f"{what} has {counted(len(sides), 'number')}, not 4")
    return fields.box(sides[0], sides[1], sides[2], sides[3], what)


def _mask(shape: dict[str, Any], size: tuple[int | None, int | None], what: str) -> Rle:
    rle = fields.rle(shape, what)
    if None not in size and rle["size"] != [size[1], size[0]]:
        height, width = rle["size"]
        raise ValueError(f"{what} is a mask of {width}x{height} pixels in a picture of {size[0]}x{size[1]}")
    return rle


def _polygons(shape: Any, what: str, left_out: list[str]) -> list[list[float]]:
    if not isinstance(shape, list):
        raise ValueError(f"{what} is neither polygons nor a mask")
    # Some exports write the one polygon without the list around it.
    nested = [shape] if all(isinstance(each, int | float) for each in shape) else shape
    polygons: list[list[float]] = []
    for at, each in enumerate(nested):
        try:
            polygons.append(fields.polygon(fields.numbers(each, what), f"{what}[{at}]"))
        except fields.CoversNothing as error:
            left_out.append(str(error))
    return polygons


def _keypoints(value: Any, what: str) -> list[Any]:
    numbers = fields.numbers(value, what)
    if len(numbers) % 3:
        raise ValueError(f"{what} is not a list of (x, y, visible)")
    if any(isinstance(each, str) for each in value):
        return numbers
    return value


def _category(
    found: dict[str, Any], names: dict[str, str] | None, what: str, left_out: list[str]
) -> tuple[str, int | None]:
    """(name, number) of an annotation's class; the number is the source's own, declared or not."""
    declared, names = names is not None, names or {}
    said = found.get("category_id")
    if said is None:
        key, number = "", None
        if "category_id" in found and not (found.get("category") or found.get("category_name")):
            raise ValueError(f"{what}.category_id is null: it has no class")
    else:
        key = fields.identity(said)
        try:
            number = fields.whole(said, f"{what}.category_id")
        except ValueError:
            if key not in names:
                raise
            number = None
    named = found.get("category", found.get("category_name", names.get(key)))
    if named is None and declared and key:
        left_out.append(
            f"{what}.category_id {fields.listed([key])} is not declared: the number is kept, without a name"
        )
    return (str(named) if named is not None else key), number


def _segment(found: dict[str, Any], names: dict[str, str] | None, what: str, left_out: list[str]) -> Annotation:
    """One segment of a panoptic picture. Its pixels are those of its id in the picture's mask."""
    read = _annotation({**found, "segmentation": None}, names, (None, None), what, left_out, placed=True)
    number = fields.whole(found.get("id"), f"{what}.id")
    return Annotation(
        category=read.category,
        category_id=read.category_id,
        bbox=read.bbox,
        area=read.area,
        iscrowd=read.iscrowd,
        id=read.id,
        attributes={**read.attributes, "segment_id": number},
    )
