"""Label maps among pictures: PNGs of one number a pixel that are called like a photo in another folder."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator

from pipeline.findings import EXAMPLES, Finding
from pipeline.sources.endings import ending

_LOOKED_AT = 8
"""Files of each folder that are looked into, and as many of their photos."""
HEAD = 26
"""Bytes of a PNG that say how it holds its pixels."""

_ENDS = re.compile(
    r"[_-](mask|masks|seg|segmentation|label|labels|labelids|gt|annotation|color|trainids|parse|id)$", re.I
)
_REASON = (
    "in the form of label maps of pictures in '{photos}', but translated as photos are; name the folder of the photos "
    "alone with source.uri or source.folders"
)
_BESIDE = "in the form of label maps of the pictures beside them, but translated as photos are; move them elsewhere"


def label_maps(pictures: Collection[str], head: Callable[[str], bytes]) -> Iterator[Finding]:
    """Folders of label maps that would be translated, one finding each.

    A folder's PNGs are taken for label maps if all that are looked at have one number a pixel (a palette, or grey) and
    the pictures that they are called like have colours.

    Args:
        pictures: paths of what a source takes for photos.
        head: the first 26 bytes of one.
    """
    by_stem: dict[str, list[str]] = {}
    for path in pictures:
        by_stem.setdefault(_stem(path), []).append(path)
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for stem, paths in by_stem.items():
        for path in paths:
            if ending(path) != "png":
                continue
            others = [each for each in paths if _place(each, stem) != _place(path, stem)]
            if others:
                groups.setdefault(_place(path, stem), []).append((path, others[0]))
    for (folder, _), pairs in sorted(groups.items()):
        if all(_one_number(head(path)) and not _one_number(head(photo)) for path, photo in pairs[:_LOOKED_AT]):
            photos = posixpath.dirname(pairs[0][1])
            names = tuple(path for path, _ in pairs[:EXAMPLES])
            reason = _BESIDE if photos == folder else _REASON.format(photos=photos)
            yield Finding("labels", folder or ".png", reason, len(pairs), names)


def _stem(path: str) -> str:
    """The name without ending, and without what label tools put behind it."""
    return _ENDS.sub("", posixpath.splitext(posixpath.basename(path))[0])


def _place(path: str, stem: str) -> tuple[str, str]:
    """The folder, and what follows the stem."""
    folder, base = posixpath.split(path)
    return folder, posixpath.splitext(base)[0].removeprefix(stem)


def _one_number(data: bytes) -> bool:
    """Whether these are the first bytes of a PNG with a palette or in grey without transparency."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[25] in (0, 3)
