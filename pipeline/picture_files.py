"""Endings of picture files: the usual one of each format that we write, and which format an ending means."""

from __future__ import annotations

ENDINGS = {"jpeg": "jpg", "png": "png", "webp": "webp"}
"""By format, as specs name it, the ending of its files without the dot."""

_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "png": "png", "webp": "webp"}


def format_of_ending(ending: str) -> str | None:
    """``jpeg``, ``png`` or ``webp`` for an ending in any case, without the dot; ``None`` for other files."""
    return _FORMATS.get(ending.lower())


def usual_ending(ending: str) -> str:
    """The ending that we give to files of this kind: ``jpg`` for ``jpeg``, others as they are."""
    return ENDINGS.get(format_of_ending(ending) or "", ending)
