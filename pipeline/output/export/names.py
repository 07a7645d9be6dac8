"""What exported pictures are called: as in the source, each name once."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from pipeline.picture_files import ENDINGS, format_of_ending
from pipeline.sink.names import UniqueNames, file_stem
from pipeline.sources.endings import IMAGE_SUFFIXES
from pipeline.sources.layout import Layout

# What our codec does not write comes out without loss.
_OTHERS = {"bmp": "png", "tif": "png", "tiff": "png", "gif": "png", "ppm": "png", "pgm": "png"}


def format_of(ending: str) -> str | None:
    """``jpeg``, ``png`` or ``webp`` for a file ending; png for the other picture formats; ``None`` for no picture."""
    return format_of_ending(ending) or _OTHERS.get(ending.lower())


def original_ending(row: Mapping[str, Any], layout: Layout) -> str | None:
    """The file ending that the source picture had, without the dot and as it was written, where that is known.

    From the source file itself (loose pictures), the member's name (tars), or the file name in the label record.
    """
    stem = posixpath.basename(row["key"])
    for name in (posixpath.basename(row["source_uri"] or ""), _labelled_name(row.get("labels_raw"))):
        ending = name[len(stem) + 1 :] if name.startswith(f"{stem}.") else ""
        if format_of(ending):
            return ending
    suffix = layout.image.rsplit(".", 1)[-1]
    return suffix if suffix in IMAGE_SUFFIXES else None


def exported_ending(original: str | None, format: str) -> str:
    """The ending of a picture written as ``format``: the original one where it fits (``JPG`` stays), else the usual."""
    if original is not None and format_of_ending(original) == format:
        return original
    return ENDINGS[format]


def _labelled_name(raw: str | None) -> str:
    try:
        record = json.loads(raw or "null")
    except ValueError:
        return ""
    if isinstance(record, list) and record:
        record = record[0]
    if not isinstance(record, dict):
        return ""
    image = record.get("image")
    name = image.get("file_name") if isinstance(image, dict) else record.get("name")
    return posixpath.basename(name.replace("\\", "/")) if isinstance(name, str) else ""


class Names:
    """Names of pictures, without ending, each given once.

    Args:
        flat: without folders, for formats whose readers do not look into folders: the last part of the key where those
            are all different (``clash`` is false), else the whole key with its parts joined.
    """

    def __init__(self, variants: int, *, flat: bool, clash: bool) -> None:
        self._variants, self._flat, self._clash = variants, flat, clash
        self._unique = UniqueNames()

    def new(self, key: str, variant: int, shard: str) -> str:
        """The name of the next picture. A key that two source files have gets hex digits the second time."""
        stem = file_stem(key, variant, self._variants)
        if self._flat:
            stem = stem.replace("/", "__") if self._clash else stem.rpartition("/")[2]
        return self._unique.new(stem, f"{shard}/{key}")
