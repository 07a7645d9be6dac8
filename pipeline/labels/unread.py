"""Texts that look like the labels of one picture, found where nothing reads them as labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

TextFormat = Literal["yolo", "voc", "kitti"]
"""Formats whose labels lie beside each picture in a text of its own."""

ENDINGS: dict[TextFormat, str] = {"yolo": ".txt", "kitti": ".txt", "voc": ".xml"}

HEAD = 4096
"""Characters of a text that are looked at."""

_TOOLS = {
    "LabelMe": (re.compile(r'"shapes"\s*:\s*\['),),
    "Supervisely": (re.compile(r'"classTitle"\s*:'),),
    "VGG Image Annotator": (re.compile(r'"shape_attributes"\s*:'),),
}
_READ = {
    "cityscapes": (re.compile(r'"imgHeight"\s*:'), re.compile(r'"(objects|polygon)"\s*:\s*\[')),
    "bdd100k": (re.compile(r'"(box2d|poly2d)"\s*:'),),
    "coco": (
        re.compile(r'"(annotations|category|category_id|file_name)"\s*:'),
        re.compile(r'"(bbox|segmentation|images)"\s*:\s*[\[{]'),
    ),
}
_ANNOTATION = re.compile(r"<annotation[\s>]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ADDRESS = re.compile(r"\S+\.(json|xml|txt)", re.I)
_LABEL_NAME = re.compile(r"(^|[._-])(labels?|annotations?|anns?|objects?|boxes|bboxes|gt)($|[._-])", re.I)
_NAMED = "named"


def text_format(text: bytes | str) -> TextFormat | None:
    """The format that a text's first 4096 characters are written in; ``None`` for a caption, or anything else.

    A YOLO line is a class number and at least four more numbers, a KITTI line a class name and at least 14 numbers.
    """
    head = _head(text)
    if head.startswith("<"):
        return "voc" if _ANNOTATION.search(head) else None
    lines = [line.split() for line in head.splitlines() if line.strip()]
    if len(text) >= HEAD:
        # The last one may be cut.
        lines = lines[:-1]
    if lines and all(_is_yolo(words) for words in lines):
        return "yolo"
    return "kitti" if lines and all(_is_kitti(words) for words in lines) else None


def label_format(text: bytes | str) -> str | None:
    """The format, or the tool whose own format is not read, that a text of labels is written in by its beginning."""
    return text_format(text) or _json_format(text)


def unread_labels(texts: Mapping[str, object], read: str | None, caption: str | None) -> Iterator[tuple[str, str]]:
    """(name, why) of the texts of a sample that look like labels, or that are called so and name a file.

    Args:
        texts: caption and passed-through members or columns by name; what is no text says nothing.
        read: the format that the job reads its labels in, if any: those are not unread.
        caption: name of the one that is taken for the caption.
    """
    for name, text in texts.items():
        if not isinstance(text, str | bytes):
            continue
        format = label_format(text)
        if format is None and isinstance(text, str) and (name == caption or _LABEL_NAME.search(name)):
            format = _NAMED if len(text) < HEAD and _ADDRESS.fullmatch(text.strip()) else None
        if format is not None and format != read:
            yield name, _reason(format, name == caption)


def advice(format: str) -> str:
    """What helps to have labels of this format read, where they are files of their own."""
    return "export them as COCO and name that file" if format in _TOOLS else "name their folder or file"


def in_form_of(format: str) -> str:
    """What a text of this format seems to be."""
    return f"in the form of {format} labels"


def _reason(format: str, is_caption: bool) -> str:
    role = "taken for the caption" if is_caption else "passed through unchanged"
    if format == _NAMED:
        return f"only a name of files that are not opened, {role}; {advice(format)} with source.labels.uri"
    helps = advice(format)
    if format in ENDINGS:
        helps = "put these files in a folder and name it"
    elif format in _READ:
        helps = "a member or column called labels is read, or put these texts in a folder and name it"
    return (
        f"{in_form_of(format)}, but {role}: boxes are not read and will not follow the pictures; {helps} with "
        "source.labels.uri"
    )


def _json_format(text: bytes | str) -> str | None:
    head = _head(text)
    if not head.startswith(("{", "[")):
        return None
    known = {**_TOOLS, **_READ}
    return next((name for name, signs in known.items() if all(sign.search(head) for sign in signs)), None)


def _head(text: bytes | str) -> str:
    head = text[:HEAD]
    if isinstance(head, bytes):
        head = head.decode("utf-8", "replace")
    return head.lstrip("\ufeff \t\r\n")


def _is_yolo(words: list[str]) -> bool:
    return len(words) >= 5 and words[0].isdecimal() and all(map(_NUMBER.fullmatch, words))


def _is_kitti(words: list[str]) -> bool:
    return len(words) >= 15 and not words[0][0].isdigit() and all(map(_NUMBER.fullmatch, words[1:]))
