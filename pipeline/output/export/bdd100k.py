"""BDD100K: ``images/<split>/...`` beside ``labels/<split>.json``, a list of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar

from pipeline.labels.export import to_bdd100k
from pipeline.output.export.spool import JsonList, bare_list
from pipeline.output.export.writers import ExportPlan, Picture, mask_file


class Bdd100kWriter:
    """Frames keep every field that came from BDD100K; boxes, polygons and lines that moved are replaced."""

    flat: ClassVar[bool] = False
    image_format: ClassVar[str | None] = None

    def __init__(self, plan: ExportPlan) -> None:
        self._lists = {split: JsonList() for split in plan.splits}

    def image_path(self, picture: Picture) -> str:
        """``images/<split>/<name>``."""
        return f"images/{picture.split}/{picture.name}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """``masks/<split>/<mask>/<name>.png``."""
        return mask_file(picture, mask)

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Nothing yet: the list is of a whole split."""
        row = (picture.key, picture.name, picture.width, picture.height, picture.labels)
        self._lists[picture.split].add(to_bdd100k([row])[0])
        return iter(())

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """One list per split."""
        for split, frames in self._lists.items():
            yield f"labels/{split}.json", bare_list(frames)
