"""Texts that look like the labels of one picture, found where nothing reads them as labels."""

from __future__ import annotations

import re
from typing import Literal

TextFormat = Literal["yolo", "voc", "kitti"]
"""Formats whose labels lie beside each picture in a text of its own."""

ENDINGS: dict[TextFormat, str] = {"yolo": ".txt", "kitti": ".txt", "voc": ".xml"}

_HEAD = 4096
_ANNOTATION = re.compile(r"<annotation[\s>]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def text_format(text: bytes | str) -> TextFormat | None:
    """The format that a text's first 4096 characters are written in; ``None`` for a caption, or anything else.

    A YOLO line is a class number and at least four more numbers, a KITTI line a class name and at least 14 numbers.
    """
    head = text[:_HEAD]
    if isinstance(head, bytes):
        head = head.decode("utf-8", "replace")
    if head.lstrip("\ufeff \t\r\n").startswith("<"):
        return "voc" if _ANNOTATION.search(head) else None
    lines = [line.split() for line in head.splitlines() if line.strip()]
    if len(text) > _HEAD:
        # The last one may be cut.
        lines = lines[:-1]
    if lines and all(_is_yolo(words) for words in lines):
        return "yolo"
    return "kitti" if lines and all(_is_kitti(words) for words in lines) else None


def _is_yolo(words: list[str]) -> bool:
    return len(words) >= 5 and words[0].isdecimal() and all(map(_NUMBER.fullmatch, words))


def _is_kitti(words: list[str]) -> bool:
    return len(words) >= 15 and not words[0][0].isdigit() and all(map(_NUMBER.fullmatch, words[1:]))
