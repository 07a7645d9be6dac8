"""Which labelled objects a detector still finds in the pictures, as the report and the card show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import quantity
from pipeline.job_record import JobRecord
from pipeline.metrics.label_check_params import LabelCheckParams
from pipeline.output.summary import RunSummary
from pipeline.storage import redact
from pipeline.uris import beside, seen_from

_WHY = {
    "class": "of a class that the detector does not know",
    "small": "too small",
    "crowd": "crowds",
}


@dataclass(frozen=True)
class SurvivalLine:
    """One class of the labels, or all of them; counts of boxes.

    Attributes:
        unchecked: of ``boxes``, those that the detector cannot speak of.
        unseen: checked, but not found in the source, so that they cannot be lost.
        held: found in the source and in the output.
        changed: found in the source, and as another class in the output.
        lost: found in the source alone.
        invented: found in the output alone, where no label is; under the detector's name of the class.
        survival: ``held`` of those found in the source; ``None`` where none was.
        interval: its 95 % interval.
    """

    name: str
    boxes: int
    unchecked: int
    unseen: int
    held: int
    changed: int
    lost: int
    invented: int
    survival: float | None
    interval: tuple[float, float] | None

    @property
    def found(self) -> int:
        """Boxes found in the source: what survival is a share of."""
        return self.held + self.changed + self.lost


@dataclass(frozen=True)
class Survival:
    """The table with what one has to know to read it.

    Attributes:
        rule: which detector looked, and what counts as found.
        total: over all classes.
        lines: by class, the most boxes first; classes of the detector that only invented objects have stand last.
        notes: sentences about gaps, the overall result first.
    """

    rule: str
    total: SurvivalLine
    lines: tuple[SurvivalLine, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[SurvivalLine, ...]:
        """The table: the total, then the classes."""
        return (self.total, *self.lines)

    @classmethod
    def of(cls, record: JobRecord, summary: RunSummary) -> Survival | None:
        """Of an output; ``None`` where no detector was asked."""
        check, tree = record.spec.source.labels.check, summary.label_check
        if check is None or tree is None:
            return None
        invented: Mapping[str, int] = tree["invented"]
        lines = [_line(name, row, invented.get(name, 0)) for name, row in tree["classes"].items()]
        lines += [_line(name, {}, number) for name, number in invented.items() if name not in tree["classes"]]
        lines.sort(key=lambda line: (-line.boxes, line.name))
        everything = _line("all", tree["all"], sum(invented.values()))
        notes = [_result(everything), *_unspoken(tree, lines), *_without_labels(summary, everything.invented)]
        notes += _filtered(tree["filtered"])
        return cls(_rule(record, check), everything, tuple(lines), tuple(notes))


def _line(name: str, row: Mapping[str, Any], invented: int) -> SurvivalLine:
    number = {key: row.get(key, 0) for key in ("boxes", "checked", "found_before", "held", "class_changed", "lost")}
    interval = row.get("ci95")
    return SurvivalLine(
        name=name,
        boxes=number["boxes"],
        unchecked=number["boxes"] - number["checked"],
        unseen=number["checked"] - number["found_before"],
        held=number["held"],
        changed=number["class_changed"],
        lost=number["lost"],
        invented=invented,
        survival=row.get("survival"),
        interval=None if interval is None else (interval[0], interval[1]),
    )


def _rule(record: JobRecord, check: LabelCheckParams) -> str:
    detector = check.detector
    if detector.startswith(("/", "file:")):
        detector = seen_from(beside(record.spec.output.uri), detector)
    names = ", ".join(f"{label} as {name}" for label, name in sorted(check.map.items()))
    return (
        f"The detector {redact(detector)} looked at source and output. Found is what it gives a score of "
        f"{check.score:g} or more, with the label's class{f' ({names})' if names else ''} and an overlap of "
        f"{check.iou:g} or more with the label's box; boxes with a side below {check.smallest:g} pixels are not "
        "checked. Survival is the share of the objects found in the source that are found in the output too; what it "
        "did not find in the source cannot be lost, and what it overlooks in the output counts as lost"
    )


def _result(line: SurvivalLine) -> str:
    if not line.found:
        return (
            f"The detector found none of {line.boxes - line.unchecked:,} checked objects in the source: "
            "survival cannot be said"
        )
    assert line.interval is not None
    low, high = (100 * each for each in line.interval)
    return (
        f"Of {line.found:,} labelled objects found in the source {line.held:,} are held "
        f"({quantity.share(line.held, line.found)}; 95 %: {low:.1f} to {high:.1f} %), {line.lost:,} are lost, "
        f"{line.changed:,} have become another class; {line.invented:,} were invented"
    )


def _unspoken(tree: Mapping[str, Any], lines: list[SurvivalLine]) -> list[str]:
    """What the table cannot answer: boxes that were not checked, and classes without any that was found."""
    found = []
    why: Mapping[str, int] = tree["all"]["unchecked"]
    if why:
        reasons = ", ".join(f"{number:,} {_WHY[name]}" for name, number in why.items())
        found.append(f"{sum(why.values()):,} of {tree['all']['boxes']:,} boxes were not checked: {reasons}")
    silent = [line.name for line in lines if line.boxes and not line.found]
    if silent:
        found.append(f"Nothing is known of: {', '.join(silent[:12])}{', ...' if len(silent) > 12 else ''}")
    return found


def _without_labels(summary: RunSummary, counted: int) -> list[str]:
    """Invented objects in pictures that have no labels, whose class the index does not keep."""
    column = summary.columns.get("labels.invented")
    total = round(column.count * column.mean) if column is not None and column.mean is not None else 0
    more = total - counted
    return [f"{more:,} more were invented in pictures without labels"] if more > 0 else []


def _filtered(row: Mapping[str, Any]) -> list[str]:
    if not row["boxes"] and not row["invented"]:
        return []
    gone = row["lost"] + row["class_changed"]
    return [
        f"All this is of the pictures in the data. In those that a filter dropped, {gone:,} of {row['found_before']:,} "
        f"objects found in the source are lost or of another class, and {row['invented']:,} were invented"
    ]
