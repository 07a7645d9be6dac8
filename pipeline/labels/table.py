"""The labels of many pictures, looked up by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from methods.errors import BadSample
from pipeline.labels.document import parse_one
from pipeline.labels.records import Labels

_IMAGE_ENDINGS = {"jpg", "jpeg", "jpe", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm"}


class LabelTable:
    """Labels by picture name, each kept as its JSON text and parsed when asked for.

    Text costs about a tenth of parsed objects: the table of a large dataset fits into every reader.

    Attributes:
        categories: COCO's category list as it stands in the file; empty for BDD100K.
    """

    def __init__(self, parse: Callable[[dict[str, Any], str], Labels], categories: list[dict[str, Any]]) -> None:
        self._parse = parse
        self.categories = categories
        self._texts: list[bytes] = []
        self._by_stem: dict[str, list[tuple[tuple[str, ...], str, int]]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, name: str, text: str) -> None:
        """Add one picture's JSON text under its file name, which may hold folders and an ending."""
        folders, stem, ending = _split(name)
        self._by_stem.setdefault(stem, []).append((folders, ending, len(self._texts)))
        self._texts.append(text.encode())

    def find(self, *names: str) -> Labels | None:
        """The labels of the picture called by the first of ``names`` that the table knows, or ``None``.

        A name may be a sample key, a path, a file name or a stem. Folders must not contradict: ``0001`` and
        ``data/train/0001.jpg`` find ``train/0001.jpg``, ``val/0001`` does not. Image endings may differ, as after a
        conversion, but the same ending is preferred.

        Raises:
            BadSample: reason ``ambiguous_labels`` when several pictures fit equally well, ``bad_labels`` when what is
                found is not a valid record.
        """
        for name in names:
            at = self._index(name)
            if at is not None:
                return parse_one(self._texts[at], self._parse)
        return None

    def _index(self, name: str) -> int | None:
        folders, stem, ending = _split(name)
        fitting: list[tuple[tuple[bool, int, bool], int]] = []
        for theirs, other, at in self._by_stem.get(stem, ()):
            shared = min(len(folders), len(theirs))
            if shared and folders[-shared:] != theirs[-shared:]:
                continue
            fitting.append(((folders == theirs, shared, ending == other), at))
        if not fitting:
            return None
        best = max(rank for rank, _ in fitting)
        chosen = [at for rank, at in fitting if rank == best]
        if len(chosen) > 1:
            raise BadSample("ambiguous_labels", f"the label file has {len(chosen)} pictures that '{name}' may mean")
        return chosen[0]


def _split(name: str) -> tuple[tuple[str, ...], str, str]:
    """(folders, stem, image ending in lower case); an ending that no image has belongs to the stem."""
    *folders, base = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")] or [""]
    stem, dot, ending = base.rpartition(".")
    if dot and stem and ending.lower() in _IMAGE_ENDINGS:
        return tuple(folders), stem, ending.lower()
    return tuple(folders), base, ""
