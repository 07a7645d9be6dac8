"""What every format of an export has in common, and the list of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar, Protocol

from pipeline.labels.categories import Categories
from pipeline.labels.records import Labels


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to be written out.

    Attributes:
        split, name: the file is ``name`` (with its ending) among the pictures of ``split``.
        key: of its sample, with its variant where there are several; unique.
        width, height: in pixels.
        labels: in pixels of this picture; without any annotation where the sample has none.
        metrics: what was measured, by metric column.
    """

    split: str
    name: str
    key: str
    width: int
    height: int
    caption: str | None
    labels: Labels
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class ExportPlan:
    """What a writer knows before the first picture.

    Attributes:
        name: of the dataset.
        splits: in order.
        categories: of all annotations that will come.
        masked: whether every object with a box also has polygons or a mask.
        metrics: the metric columns.
        left_out: counts, by a sentence's beginning, what the format cannot hold; writers add to it.
    """

    name: str
    splits: Sequence[str]
    categories: Categories
    masked: bool = False
    metrics: Sequence[str] = ()
    left_out: Counter[str] = field(default_factory=Counter)

    def what_is_left_out(self) -> dict[str, int]:
        """The counts that are not 0, sorted by their words."""
        return {what: number for what, number in sorted(self.left_out.items()) if number}


class Writer(Protocol):
    """One format. Paths are relative to the exported folder, with forward slashes."""

    flat: ClassVar[bool]
    """Whether pictures lie in one folder per split, as the format's readers expect."""
    image_format: ClassVar[str | None]
    """The picture format that the format's readers expect, or ``None`` for any."""

    def image_path(self, picture: Picture) -> str:
        """Where the picture goes."""
        ...

    def mask_path(self, picture: Picture, mask: str) -> str:
        """Where a label map that the sample carries goes; ``mask`` is its name in the source (``seg.png``)."""
        ...

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """(path, content) of the label files of this picture alone."""
        ...

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """(path, content) of the files of the whole dataset; large ones as files opened for reading."""
        ...


def mask_file(picture: Picture, mask: str) -> str:
    """The usual place of label maps: ``masks/<split>/<mask>/<picture>.png``."""
    return f"masks/{picture.split}/{mask.rsplit('.', 1)[0]}/{picture.stem}.png"
