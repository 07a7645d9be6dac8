"""Whether the label files of a source lie in folders beside those of its pictures, decided once for all of them."""

from __future__ import annotations

from itertools import islice

from methods.errors import BadSample
from pipeline.labels.names import PictureName
from pipeline.labels.siblings import Siblings, find_siblings
from pipeline.labels.table import LabelTable
from pipeline.sources.folder import FolderSource
from pipeline.spec import SourceSpec
from pipeline.storage import redact

_LOOKED_UP = 16
"""Pictures that are looked up to learn whether their names alone find their labels."""


def label_siblings(source: SourceSpec, table: LabelTable) -> tuple[Siblings | None, str | None]:
    """The name in which the folders of pictures and of label files differ, and a line that says what was taken.

    The line is there where the pictures do not find their labels without it.

    Args:
        source: a source of loose pictures.
        table: of its label files.
    """
    labels = table.label_files()
    if not any(folders for folders, _ in labels):
        return None, None
    keys = FolderSource(source, 1).all_keys()
    pictures = [PictureName.parse(key) for key in keys]
    found = find_siblings(pictures, labels, table.places())
    if found is None:
        return None, None
    there = {*labels}
    paired = (
        key for key, each in zip(keys, pictures, strict=True) if (found.labels_of(each.folders), each.stem) in there
    )
    if all(_known(table, key) for key in islice(paired, _LOOKED_UP)):
        return found, None
    return found, (
        f"{redact(source.labels.uri or '')}: label files in folders called '{found.labels}' are taken for those of the "
        f"pictures in '{found.pictures}' beside them"
    )


def _known(table: LabelTable, key: str) -> bool:
    try:
        return table.find(key) is not None
    except BadSample:
        return False
