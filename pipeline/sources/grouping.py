"""Loose files put together into samples by their names: a picture and what is called like it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.sources.endings import IMAGE_SUFFIXES, ending
from pipeline.sources.layout import MASK_NAMES, TARGET_NAMES

SIDECARS = frozenset({*MASK_NAMES, *TARGET_NAMES})
"""Pictures that belong to another picture of their name: ``a.seg.png`` beside ``a.jpg``."""

KeyFrom = Literal["auto", "first_dot", "last_dot"]


@dataclass(frozen=True)
class Groups:
    """Files by sample, key -> {suffix: path}, sorted by key; and the files that belong to no picture.

    A file that differs from another one of its sample in letter case alone (``a.JPG`` beside ``a.jpg``) has its path
    for a suffix.
    """

    samples: dict[str, dict[str, str]]
    rest: tuple[str, ...]


def group_by_key(
    paths: Iterable[str], sidecars: Collection[str] = SIDECARS, key_from: KeyFrom = "auto", image: str = "auto"
) -> Groups:
    """Put files together into samples.

    A picture's key is its path without ending; ``key.anything`` that is no picture is its sidecar. Of pictures only
    those with a name of ``sidecars`` belong to another one: ``a.seg.png`` belongs to ``a`` when there is an ``a.jpg``,
    ``a.v2.jpg`` is a picture of its own. Of ``a.jpg`` and ``a.png`` both are images with key ``a``: the second is
    listed under its full name and refused as a duplicate. With ``first_dot`` the key ends at the first dot.

    Args:
        image: ending of what counts as the picture (``rgb.png``), where it is not ``auto``.
    """
    samples: dict[str, dict[str, str]] = {}
    others: list[str] = []
    doubtful: list[tuple[str, str, str]] = []
    for path in sorted(paths):
        picture = _picture_name(path, key_from, image)
        if picture is None:
            others.append(path)
            continue
        key, suffix = picture
        cut = next(((head, tail) for head, tail in _cuts(path) if tail in sidecars), None) if image == "auto" else None
        if cut is not None and cut[0] != key:
            doubtful.append((path, *cut))
        else:
            _put(samples.setdefault(key, {}), suffix, path)
    alone = []
    for path, head, tail in doubtful:
        if head in samples:
            _put(samples[head], tail, path)
        else:
            alone.append(path)
    for path in alone:
        stem, _, suffix = path.rpartition(".")
        _put(samples.setdefault(stem, {}), suffix.lower(), path)
    rest = []
    for path in others:
        owner = next(((head, tail) for head, tail in _cuts(path, key_from) if head in samples), None)
        if owner is None:
            rest.append(path)
        else:
            _put(samples[owner[0]], owner[1], path)
    return Groups(dict(sorted(samples.items())), tuple(rest))


def _put(parts: dict[str, str], suffix: str, path: str) -> None:
    parts[path if suffix in parts else suffix] = path


def picture_of(parts: Collection[str], image: str = "auto") -> str:
    """The suffix of the picture itself: the first of the usual image endings that is there."""
    if image in parts:
        return image
    return next(suffix for suffix in (*IMAGE_SUFFIXES, *parts) if suffix in parts)


def _picture_name(path: str, key_from: KeyFrom, image: str) -> tuple[str, str] | None:
    """(key, suffix) of a file that counts as a picture of its own."""
    if image != "auto" and image != "image":
        fits = path.lower().endswith(f".{image.lower()}")
        return (path[: -len(image) - 1], image) if fits and len(path) > len(image) + 1 else None
    if ending(path) not in IMAGE_SUFFIXES:
        return None
    stem, _, suffix = path.rpartition(".")
    if key_from == "first_dot" and "." in stem.rpartition("/")[2]:
        return None
    return stem, suffix.lower()


def _cuts(path: str, key_from: KeyFrom = "auto") -> Iterator[tuple[str, str]]:
    """(head, tail in lower case) of a path at every dot of its name, the last dot first."""
    folder, slash, base = path.rpartition("/")
    places = [n for n, c in enumerate(base) if c == "." and n]
    for place in places[:1] if key_from == "first_dot" else reversed(places):
        yield f"{folder}{slash}{base[:place]}", base[place + 1 :].lower()
