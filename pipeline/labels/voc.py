"""Pascal VOC XML (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/), one file per picture.

VOC counts pixels from 1 and includes both ends: the first pixel alone is xmin = xmax = 1. A data set in which a box
begins at 0, or between pixels, was written by a tool that counts from 0, as most do; then its numbers are edges.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import unescape

from methods.errors import InputError
from pipeline.labels import fields
from pipeline.labels.document import parse_xml
from pipeline.labels.files import LabelFiles
from pipeline.labels.records import Annotation, Labels
from pipeline.labels.table import TableInfo, TableWriter

_FROM_ZERO = re.compile(r"<[xy]min>\s*(0+(\.0*)?|\d*\.\d*[1-9]\d*)\s*</")
_NAME = re.compile(r"<name>([^<]+)</name>")
_OWN = {"name", "bndbox", "polygon", "part"}
_PLACES = ("bndbox", "polygon")
_FOLDER, _PICTURES = "Annotations/", "JPEGImages/"
MASKS = {"SegmentationClass": "class.png", "SegmentationObject": "object.png"}
"""Folders beside ``Annotations`` with label maps, and the mask members they become."""


def read_voc(files: LabelFiles, writer: TableWriter) -> None:
    """Put a folder of XML files into a table, with the label maps in ``SegmentationClass`` and ``SegmentationObject``.

    Raises:
        InputError: no XML file there.
    """
    names = files.named(".xml")
    if not names:
        raise InputError(f"{files.where('')}: no VOC annotation (.xml) here; check source.labels.uri")
    maps: dict[tuple[str | None, str, str], str] = {}
    for name in files.named(".png"):
        above, folder = posixpath.split(posixpath.dirname(name))
        if folder in MASKS:
            stem = posixpath.splitext(posixpath.basename(name))[0]
            maps[None, folder, stem] = maps[above, folder, stem] = files.uri(name)
    from_zero = False
    pictures = {name: posixpath.splitext(name.rpartition(_FOLDER)[2] if _FOLDER in name else name)[0] for name in names}
    again = Counter(pictures.values())
    for number, name in enumerate(names):
        text = files.record(name)
        from_zero = from_zero or bool(_FROM_ZERO.search(text))
        writer.classes.update(unescape(name.strip()) for name in _NAME.findall(text))
        stem = posixpath.splitext(posixpath.basename(name))[0]
        picture, above = pictures[name], None
        if again[picture] > 1:
            # Several sets side by side: then the folder above says which of them a picture is of.
            above = name.rpartition(_FOLDER)[0]
            picture = f"{above}{_PICTURES}{picture}"
            above = above.rstrip("/")
        masks = {member: maps[above, folder, stem] for folder, member in MASKS.items() if (above, folder, stem) in maps}
        writer.add(picture, text, file=number, masks=masks, path=name)
    writer.options = {"from_zero": from_zero}
    writer.finish()


def parse_voc(text: str, size: tuple[int, int] | None, info: TableInfo) -> Labels:
    """The labels of one picture.

    Raises:
        ValueError: no XML, or not an annotation. Objects that cannot be read go to ``problems``.
    """
    root = parse_xml(text)
    if root.tag != "annotation":
        raise ValueError(f"the root element is '{root.tag}', not 'annotation'")
    shift = 0.0 if info.options.get("from_zero") else 1.0
    stated = root.find("size")
    width = height = None
    if stated is not None:
        # Some tools write 0 for a size they do not know.
        width, height = (_pixels(stated.findtext(side), side) for side in ("width", "height"))

    left_out: list[str] = []

    def read(found: Element, what: str) -> list[Annotation]:
        return [_annotation(found, shift, what, left_out), *_parts(found, shift, what, left_out)]

    # Some tools put them into an element of their own.
    groups, problems = fields.each_readable(list(root.iter("object")), read, "object")
    return Labels(
        width, height, [each for group in groups for each in group], raw=text, problems=(*problems, *left_out)
    )


def _annotation(found: Element, shift: float, what: str, left_out: list[str]) -> Annotation:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise ValueError(f"{what} has no name")
    box, outline = found.find("bndbox"), found.find("polygon")
    notes = [f"{what} has several {tag}: the first is kept" for tag in _PLACES if len(found.findall(tag)) > 1]
    bbox = None if box is None else fields.part(lambda: _box(box, shift, what), notes)
    polygon = None if outline is None else fields.part(lambda: _polygon(outline, what), notes)
    fields.placed((bbox, polygon), notes, what)
    left_out += notes
    extra: dict[str, Any] = {
        each.tag: _plain(each.text) for each in found if each.tag not in _OWN and len(each) == 0 and each.text
    }
    return Annotation(
        category=name,
        bbox=bbox,
        segmentation=None if polygon is None else [polygon],
        attributes=extra,
    )


def _parts(found: Element, shift: float, what: str, left_out: list[str]) -> list[Annotation]:
    """Head, hands and feet of a person: objects of their own, so that they move with the picture."""
    owner = (found.findtext("name") or "").strip()

    def read(part: Element, said: str) -> Annotation:
        box = part.find("bndbox")
        if box is None:
            raise ValueError(f"{said} has no bndbox")
        name = (part.findtext("name") or "").strip()
        return Annotation(name, bbox=_box(box, shift, said), attributes={"part_of": owner})

    parts, problems = fields.each_readable(found.findall("part"), read, f"{what}.part")
    left_out += problems
    return parts


def _box(box: Element, shift: float, what: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = (
        fields.number(box.findtext(side), f"{what}.bndbox.{side}") for side in ("xmin", "ymin", "xmax", "ymax")
    )
    x, y = left - shift, top - shift
    return fields.box(x, y, right - x, bottom - y, f"{what}.bndbox")


def _polygon(found: Element, what: str) -> list[float]:
    """``<x1/><y1/><x2/>...``, as Roboflow writes them, or ``<pt><x/><y/></pt>`` of LabelMe."""
    points = [(point.findtext("x"), point.findtext("y")) for point in found.findall("pt")]
    at = 1
    while found.find(f"x{at}") is not None:
        points.append((found.findtext(f"x{at}"), found.findtext(f"y{at}")))
        at += 1
    flat = [fields.number(each, f"{what}.polygon") for point in points for each in point]
    return fields.polygon(flat, f"{what}.polygon")


def _pixels(text: str | None, what: str) -> int | None:
    if text is None or fields.number(text, what) == 0:
        return None
    return fields.size(text, what)


def _plain(text: str | None) -> int | str:
    said = (text or "").strip()
    return int(said) if re.fullmatch(r"-?\d{1,9}", said, re.ASCII) else said
