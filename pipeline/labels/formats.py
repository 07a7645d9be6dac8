"""Every label format that is read, by name: how its files become a table, how one record becomes labels."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from methods.errors import BadSample, InputError
from pipeline.labels import bdd100k, cityscapes, coco, fields, kitti, openimages, voc, yolo
from pipeline.labels import record as own
from pipeline.labels.document import parse_text
from pipeline.labels.files import UNREADABLE, LabelFiles
from pipeline.labels.json_stream import JsonStream
from pipeline.labels.records import Labels
from pipeline.labels.table import TableInfo, TableWriter

FormatName = Literal["coco", "bdd100k", "yolo", "voc", "cityscapes", "kitti", "openimages"]
LabelFormat = Literal["auto", "coco", "bdd100k", "yolo", "voc", "cityscapes", "kitti", "openimages"]
Size = tuple[int, int]

PER_SAMPLE: frozenset[LabelFormat] = frozenset(("coco", "bdd100k", "cityscapes"))
"""Formats whose records may travel with each sample, as members or columns."""

_SNIFFED = 20_000
"""Entries of a JSON file after which its format must have shown."""

_TEXT_SAMPLES = 20


@dataclass(frozen=True)
class Format:
    """One label format.

    Attributes:
        read: puts the files of a source into a table, and finishes it.
        parse: (record's text, (width, height) of the upright picture, table's info) -> labels; ValueError otherwise.
        draw: (labels, the pictures that annotations are drawn in, by name, size as above, table's info) -> the labels
            with those annotations; ValueError otherwise. ``None``: the format has no such pictures.
        beside: names of further files that the table is made from, in the source's folder or above it.
        documents: ending of files that each hold the labels of many pictures; none where each picture has a file.
    """

    read: Callable[[LabelFiles, TableWriter], None]
    parse: Callable[[str, Size | None, TableInfo], Labels]
    beside: tuple[str, ...] = ()
    documents: str | None = None
    draw: Callable[[Labels, Mapping[str, bytes], Size | None, TableInfo], Labels] | None = None


def _of_json(parse: Callable[[dict[str, Any], str], Labels]) -> Callable[[str, Size | None, TableInfo], Labels]:
    def parsed(text: str, size: Size | None, info: TableInfo) -> Labels:
        return parse(_record(text), text)

    return parsed


def _coco(text: str, size: Size | None, info: TableInfo) -> Labels:
    return coco.parse_record(_record(text), text, declares=bool(info.categories))


FORMATS: dict[FormatName, Format] = {
    "coco": Format(coco.read_coco, _coco, documents=".json"),
    "bdd100k": Format(
        bdd100k.read_bdd100k, _of_json(bdd100k.parse_frame), documents=".json", draw=bdd100k.with_bitmask
    ),
    "yolo": Format(yolo.read_yolo, yolo.parse_yolo, yolo.BESIDE),
    "voc": Format(voc.read_voc, voc.parse_voc),
    "cityscapes": Format(cityscapes.read_cityscapes, cityscapes.parse_cityscapes),
    "kitti": Format(kitti.read_kitti, kitti.parse_kitti),
    "openimages": Format(
        openimages.read_openimages, openimages.parse_openimages, openimages.BESIDE, ".csv", openimages.with_masks
    ),
}


def parse_record(text: str, size: Size | None, info: TableInfo) -> Labels:
    """The labels of one record of a table.

    Raises:
        BadSample: reason ``bad_labels``.
    """

    def parsed() -> Labels:
        if text.startswith(UNREADABLE):
            raise ValueError(text.removeprefix(UNREADABLE))
        return FORMATS[info.format].parse(text, size, info)  # type: ignore[index]

    return _guarded(parsed)


def with_drawn(labels: Labels, drawn: Mapping[str, bytes], size: Size | None, info: TableInfo) -> Labels:
    """The labels with the annotations that a table's format draws in pictures.

    Raises:
        BadSample: reason ``bad_labels``.
    """
    draw = FORMATS[info.format].draw  # type: ignore[index]
    return labels if draw is None or not drawn else _guarded(lambda: draw(labels, drawn, size, info))


def parse_sample(data: bytes | str, format: LabelFormat = "auto") -> Labels:
    """Labels from the JSON that travels beside one picture: a BDD100K frame, a COCO record or Cityscapes polygons.

    ``auto`` takes what has ``annotations`` for COCO, what has ``objects`` and ``imgWidth`` for Cityscapes, and what has
    ``labels``, ``frames`` or a frame's ``name`` and ``attributes`` for BDD100K. A record of an output of ours
    (:mod:`pipeline.labels.record`) is known by itself, whatever ``format`` says.

    Raises:
        BadSample: reason ``bad_labels``, for anything else.
    """
    return _guarded(lambda: _parse_json(data, format))


def recognise(files: LabelFiles) -> FormatName:
    """The format of a label source, from names and a look into one file.

    Raises:
        InputError: nothing that is known.
    """
    jsons = files.named(".json")
    if any(bdd100k.is_bitmask(files, name) for name in files.named(".png")):
        return "bdd100k"
    if any(cityscapes.is_label_map(name) or name.endswith("_polygons.json") for name in files.sizes):
        return "cityscapes"
    if files.named(".xml"):
        return "voc"
    if jsons:
        return _recognise_json(files, jsons[0])
    texts = yolo.label_files(files)
    if texts:
        return _recognise_text(files, texts)
    if files.named(".csv"):
        return "openimages"
    some = ", ".join(list(files.sizes)[:3])
    if files.named(".zip"):
        raise InputError(f"{files.where(files.named('.zip')[0])}: an archive that is not read; unpack it")
    raise InputError(
        f"{files.where('')}: no label file of a known format here ({some}); name it with source.labels.format"
    )


def _recognise_json(files: LabelFiles, name: str) -> FormatName:
    with files.open(name) as file:
        stream = JsonStream(file)
        keys: set[str] = set()
        try:
            for at, entry in enumerate(stream):
                keys |= {entry.key} if entry.key else set()
                if keys & {"images", "annotations"} and stream.kind == "object":
                    return "coco"
                if stream.kind == "list" or keys & {"frames", "labels"} or keys >= {"name", "attributes"}:
                    return "bdd100k"
                if at > _SNIFFED:
                    break
        except ValueError as error:
            raise InputError(
                f"{files.where(name)} is not readable JSON ({error}); mend it or point source.labels.uri elsewhere"
            ) from None
        if stream.lists & {"images", "annotations"}:
            return "coco"
        if stream.kind == "list" or stream.lists & {"frames", "labels"}:
            return "bdd100k"
    has = fields.listed(sorted(keys | stream.lists))
    raise InputError(
        f"{files.where(name)} holds no labels that are known: it has {has}; COCO has images and annotations, "
        "BDD100K a list of frames"
    )


def _recognise_text(files: LabelFiles, names: list[str]) -> FormatName:
    for name in names[:_TEXT_SAMPLES]:
        try:
            lines = files.text(name).split("\n")
        except ValueError:
            continue
        words = next((line.split() for line in lines if line.strip()), [])
        if len(words) >= 15 and not words[0][:1].isdigit():
            return "kitti"
        if words and words[0].isdigit():
            return "yolo"
    if all(files.sizes[name] == 0 for name in names):
        return "yolo"
    where = files.where(posixpath.commonprefix(names) if len(names) > 1 else names[0])
    raise InputError(
        f"{where}: text files, but neither YOLO nor KITTI labels; name the format with source.labels.format"
    )


def _parse_json(data: bytes | str, format: LabelFormat) -> Labels:
    _, text = parse_text(data)
    record = _record(text)
    if own.is_record(record):
        return own.parse_record(record, text)
    if format == "auto":
        format = _kind(record)
    if format == "coco":
        return coco.parse_record(record, text)
    if format == "bdd100k":
        return bdd100k.parse_frame(record, text)
    if format == "cityscapes":
        return cityscapes.parse_cityscapes(text, None, TableInfo("cityscapes", 1, [], (), (), {}, ()))
    raise ValueError(f"labels of one sample in the format {format} are read from source.labels.uri only")


def _kind(record: dict[str, Any]) -> LabelFormat:
    if "annotations" in record:
        return "coco"
    if "objects" in record and "imgWidth" in record:
        return "cityscapes"
    if "labels" in record or "frames" in record or {"name", "attributes"} <= record.keys():
        return "bdd100k"
    raise ValueError(f"neither a BDD100K frame nor a COCO record (it has: {fields.listed(record)})")


def _record(text: str) -> dict[str, Any]:
    record, _ = parse_text(text)
    if isinstance(record, list) and len(record) == 1:
        record = record[0]
    if not isinstance(record, dict):
        raise ValueError("neither a BDD100K frame nor a COCO record, which are JSON objects")
    return fields.mapping(record, "the record")


def _guarded(parse: Callable[[], Labels]) -> Labels:
    try:
        return parse()
    except ValueError as error:
        message = " ".join(str(error).split())
        raise BadSample("bad_labels", f"labels: {message}") from None
