"""Source files cut into units of work, so that one large manifest occupies all readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.plan import FilePlan

UNIT = 64 << 10
"""Bytes of a manifest that are worth a reader: some hundred rows."""


def units_of(files: Sequence[FilePlan], format: str, readers: int) -> list[FilePlan]:
    """The files of a source, each manifest as up to ``readers`` units that take its shards in turn.

    Every reader of a manifest goes through all its rows, which are cheap, and fetches the pictures of its own shards.
    Of the other formats one reader streams a file.
    """
    if format != "manifest":
        return list(files)
    return [
        replace(each, turn=(turn, number))
        for each in files
        for number in (max(1, min(readers, 1 + each.file.size // UNIT)),)
        for turn in range(number)
    ]
