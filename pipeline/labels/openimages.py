"""Open Images CSV (https://storage.googleapis.com/openimages/web/download_v7.html): boxes, masks, image-level labels.

Coordinates are shares of the picture's sides. The names of the classes stand in ``class-descriptions*.csv`` beside it.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from methods.counting import counted
from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.labels import fields
from pipeline.labels.box_table import ADVICE, names_a_box
from pipeline.labels.document import decoded, parse_json
from pipeline.labels.files import LabelFiles
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.rle import encode
from pipeline.labels.table import TableInfo, TableWriter

_SIDES = ("XMin", "XMax", "YMin", "YMax")
_MASK_SIDES = ("BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")
_OWN = {"ImageID", "LabelName", *_SIDES, *_MASK_SIDES}
BESIDE = ("class-descriptions-boxable.csv", "class-descriptions.csv", "oidv7-class-descriptions-boxable.csv")
"""Files that hold the names of classes."""


def read_openimages(files: LabelFiles, writer: TableWriter) -> None:
    """Put the rows of one or more CSV files into a table, by ``ImageID``; rows stream.

    Raises:
        InputError: no such file, or one without the columns ``ImageID`` and ``LabelName``.
    """
    names = [name for name in files.named(".csv") if "class-descriptions" not in posixpath.basename(name)]
    if not names:
        raise InputError(f"{files.where('')}: no Open Images annotation (.csv) here; check source.labels.uri")
    try:
        classes = _class_names(files)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{files.where('')}: the names of the classes cannot be read: {error}") from None
    writer.options = {"classes": classes}
    seen: set[str] = set()
    masks: dict[str, dict[str, str]] = {}
    pngs = {posixpath.basename(name): files.uri(name) for name in files.named(".png")}
    for name in names:
        with files.open(name) as raw:
            try:
                for row in _rows(raw):
                    image = row["ImageID"] or ""
                    if image not in seen:
                        seen.add(image)
                        writer.add(image, "{}", id=image)
                    if row.get("MaskPath"):
                        masks.setdefault(image, {})[row["MaskPath"]] = pngs.get(row["MaskPath"], "")
                    if label := row["LabelName"]:
                        writer.classes.add(classes.get(label) or label)
                    filled = {column: value for column, value in row.items() if value}
                    writer.add_part(json.dumps(filled, ensure_ascii=False), file=0, id=image)
            except (ValueError, csv.Error) as error:
                raise InputError(f"{files.where(name)} is no Open Images annotation: {error}") from None
    lost = [path for paths in masks.values() for path, uri in paths.items() if not uri]
    if lost:
        writer.notes.append(
            f"{files.where('')}: {counted(len(lost), 'mask', 'is/are')} not there ({fields.listed(lost, 3)}); "
            "source.labels.uri must be a folder that has them too"
        )
    there = {image: {path: uri for path, uri in paths.items() if uri} for image, paths in masks.items()}
    writer.add_masks(0, {image: paths for image, paths in there.items() if paths}, drawn=True)
    writer.finish(lambda head, parts, categories: f"[{','.join(parts)}]")


def _class_names(files: LabelFiles) -> dict[str, str]:
    """Names by the machine names of the classes."""
    classes: dict[str, str] = {}
    for name in BESIDE:
        text = files.beside(name, levels=2)
        if text is not None:
            classes |= {row[0]: row[1] for row in csv.reader(io.StringIO(text)) if len(row) == 2}
    return classes


def _rows(raw: Any) -> Any:
    reader = csv.DictReader(io.TextIOWrapper(raw, "utf-8-sig", newline=""))
    columns = reader.fieldnames or []
    if not {"ImageID", "LabelName"} <= set(columns):
        if names_a_box([*columns]):
            raise ValueError(f"it is {ADVICE}")
        raise ValueError(f"it has the columns {fields.listed(columns, 8)}, not ImageID and LabelName")
    for row in reader:
        row.pop(None, None)  # type: ignore[call-overload]
        yield row


def parse_openimages(text: str, size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels of one picture of ``size`` = (width, height) pixels, upright.

    Raises:
        ValueError: the size is not known. Rows that cannot be read go to ``problems``.
    """
    if size is None:
        raise ValueError("Open Images labels need their picture's size")
    names: dict[str, str] = info.options.get("classes", {})
    rows = fields.items(parse_json(decoded(text)), "rows")

    def read(row: dict[str, Any], what: str) -> Annotation:
        return _annotation(row, size, names, what)

    annotations, problems = fields.each_readable(rows, read, "row")
    return Labels(size[0], size[1], annotations, raw=text, problems=problems)


def with_masks(labels: Labels, drawn: Mapping[str, bytes], size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels with the masks of their objects, brought to the picture's size.

    A mask joins the annotation of the same class and box that another file has; one that is missing or cannot be read
    goes to ``problems``, and its box stays.
    """
    kept: list[Annotation] = []
    problems = list(labels.problems)
    for found in sorted(labels.annotations, key=lambda each: "MaskPath" in each.attributes):
        path = found.attributes.get("MaskPath")
        if not isinstance(path, str):
            kept.append(found)
            continue
        try:
            mask = codec.decode_mask(drawn[path])
        except KeyError:
            problems.append(f"the mask {path} is not there")
        except BadSample as error:
            problems.append(f"the mask {path} cannot be read: {error}")
        else:
            flat = mask if mask.ndim == 2 else np.asarray(mask.any(2))
            height, width = mask.shape[:2]
            flat = codec.resize(flat.astype("uint8"), size or (width, height), "nearest")
            if flat.any():
                found = replace(found, rle=encode(flat))
            else:
                problems.append(f"the mask {path} is a mask without a pixel")
        at = next((at for at, other in enumerate(kept) if _same_object(other, found)), None)
        if at is None:
            kept.append(found)
        else:
            kept[at] = replace(kept[at], rle=found.rle, attributes={**kept[at].attributes, **found.attributes})
    return replace(labels, annotations=kept, problems=tuple(problems))


def _same_object(one: Annotation, other: Annotation) -> bool:
    """Whether two files mean one object: the same class and box, to the digits that they have in common."""
    if one.rle is not None or one.bbox is None or other.bbox is None or one.category != other.category:
        return False
    return all(abs(a - b) < 0.05 for a, b in zip(one.bbox, other.bbox, strict=True))


def _annotation(row: dict[str, Any], size: tuple[int, int], names: dict[str, str], what: str) -> Annotation:
    machine = row.get("LabelName")
    if not isinstance(machine, str):
        raise ValueError(f"{what} has no LabelName")
    bbox = None
    sides = _SIDES if any(side in row for side in _SIDES) else _MASK_SIDES
    if any(side in row for side in sides):
        left, right, top, bottom = (fields.number(row.get(side), f"{what}: {side}") for side in sides)
        if not all(-0.01 <= share <= 1.01 for share in (left, right, top, bottom)):
            raise ValueError(f"{what} has a side that is no share of the picture (0 to 1)")
        width, height = (right - left) * size[0], (bottom - top) * size[1]
        bbox = fields.box(left * size[0], top * size[1], width, height, what)
    extra = {key: value for key, value in row.items() if key not in _OWN}
    return Annotation(
        category=names.get(machine, machine),
        bbox=bbox,
        iscrowd=row.get("IsGroupOf") == "1",
        attributes={**extra, "LabelName": machine},
    )
