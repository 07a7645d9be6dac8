"""How many labels there are, and which of them found no picture: counted per shard, added up from index parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from methods.counting import counted, does
from pipeline.records import Row
from pipeline.sink.note import PartNote

_NAMES = 3


def count_labels(rows: Sequence[Row]) -> dict[str, Any]:
    """What the note of one shard says of its labels.

    Returns:
        ``pictures`` with labels of ``samples`` that were translated, ``annotations`` and ``boxes`` in them,
        ``left_out`` annotations, ``without`` (keys of the first pictures without labels), and ``records``: which
        pictures of the label table these are, by number.
    """
    firsts = [row for row in rows if row.variant == 0]
    made = [row for row in firsts if row.status != "rejected"]
    labelled = [row for row in made if row.labels is not None]
    annotations = [each for row in labelled for each in (row.labels or {})["annotations"]]
    return {
        "samples": len(made),
        "pictures": len(labelled),
        "annotations": len(annotations),
        "boxes": sum(each["bbox"] is not None for each in annotations),
        "left_out": sum(len(row.label_problems) for row in made),
        "without": [row.key for row in made if row.labels is None][:_NAMES],
        "left_out_of": [row.key for row in made if row.label_problems][:_NAMES],
        "records": sorted({row.label_record for row in firsts if row.label_record is not None}),
    }


class LabelTotals:
    """The counts of many shards, added up. A byte per picture of the label table is all that is kept."""

    def __init__(self, table_size: int | None) -> None:
        self._counts = dict.fromkeys(("samples", "pictures", "annotations", "boxes", "left_out"), 0)
        self._without: list[str] = []
        self._left_out_of: list[str] = []
        self._found = None if table_size is None else bytearray(table_size)

    def taken(self, part: PartNote) -> PartNote:
        """Take a shard's counts in; its note comes back without what it says of single samples."""
        note = part.labels
        for name in self._counts:
            self._counts[name] += note.get(name, 0)
        self._without = [*self._without, *note.get("without", ())][:_NAMES]
        self._left_out_of = [*self._left_out_of, *note.get("left_out_of", ())][:_NAMES]
        if self._found is not None:
            for number in note.get("records", ()):
                if number < len(self._found):
                    self._found[number] = 1
        return replace(part, labels={})

    def unmatched(self) -> list[int]:
        """The first few pictures of the label table that no picture of the source was found for, by number."""
        found: list[int] = []
        at = -1
        while self._found is not None and len(found) < _NAMES and (at := self._found.find(0, at + 1)) >= 0:
            found.append(at)
        return found

    def as_tree(self) -> dict[str, Any]:
        """JSON-ready; ``table`` and ``unmatched`` are ``None`` for samples that bring their own labels."""
        table = None if self._found is None else len(self._found)
        return {
            **self._counts,
            "without": self._counts["samples"] - self._counts["pictures"],
            "without_names": self._without,
            "left_out_of": self._left_out_of,
            "table": table,
            "unmatched": None if self._found is None else self._found.count(0),
        }


def describe_labels(tree: Mapping[str, Any]) -> list[str]:
    """What :meth:`LabelTotals.as_tree` counts, one line each for a person; nothing for a set without any labels."""
    if not tree or not (tree["pictures"] or tree["table"]):
        return []
    lines = [
        f"labels of {tree['pictures']:,} of {counted(tree['samples'], 'picture')}: "
        f"{counted(tree['annotations'], 'annotation')}, "
        f"{tree['boxes']:,} with a box"
    ]
    if tree["without"]:
        lines.append(_without(tree))
    if tree["unmatched"]:
        names = _some(tree.get("unmatched_names", []), tree["unmatched"])
        matches = does(tree["unmatched"], "matches/match")
        said = f"{tree['unmatched']:,} of {counted(tree['table'], 'label')} {matches} no picture"
        lines.append(said + names)
    if tree["left_out"]:
        lines.append(_left_out(tree))
    return lines


def label_warnings(tree: Mapping[str, Any], *, matched: bool) -> list[str]:
    """What of the counts a user must hear of: labels for less than half of the pictures, and annotations left out.

    Args:
        matched: whether the labels matched the first samples; where they did not, that has been said.
    """
    few = tree["table"] is not None and 2 * tree["pictures"] < tree["samples"]
    lines = [_without(tree)] if few and matched else []
    return [*lines, _left_out(tree)] if tree["left_out"] else lines


def _without(tree: Mapping[str, Any]) -> str:
    has = does(tree["without"], "has/have")
    said = f"{tree['without']:,} of {counted(tree['samples'], 'picture')} {has} no labels"
    return said + _some(tree["without_names"], tree["without"])


def _left_out(tree: Mapping[str, Any]) -> str:
    are = does(tree["left_out"], "is/are")
    return (
        f"{counted(tree['left_out'], 'annotation')}, or parts of them, could not be used and {are} left out"
        f"{_some(tree['left_out_of'], tree['left_out'])}; the index says why, in label_problems"
    )


def _some(names: Sequence[str], count: int) -> str:
    return f" ({', '.join(names)}{', ...' if count > len(names) else ''})" if names else ""
