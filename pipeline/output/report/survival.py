"""Which labelled objects a detector still finds in the pictures, as the report and the card show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from methods.counting import counted, does
from methods.nn.detection.names import known_as
from pipeline import quantity
from pipeline.job_record import JobRecord
from pipeline.metrics.label_check_params import LabelCheckParams
from pipeline.output.summary import RunSummary
from pipeline.storage import redact
from pipeline.uris import beside, seen_from

_WHY = {
    "left out": "of classes that labels.check.classes leaves out",
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
        notes = [_result(everything), *_unspoken(tree, lines), *_uncompared(record, tree)]
        notes += _without_labels(summary, everything.invented)
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
    classes = check.classes or _named(record)
    which = f". Compared are {_listed(classes)}, as far as the detector knows them" if classes else ""
    return (
        f"The detector {redact(detector)} looked at source and output. Found is what it gives a score of "
        f"{check.score:g} or more, with the label's class{f' ({names})' if names else ''} and an overlap of "
        f"{check.iou:g} or more with the label's box; boxes with a side below {check.smallest:g} pixels are not "
        "checked. Survival is the share of the objects found in the source that are found in the output too; what it "
        f"did not find in the source cannot be lost, and what it overlooks in the output counts as lost{which}"
    )


def _named(record: JobRecord) -> Sequence[str]:
    """The classes that the label files name; none where the labels came with the samples."""
    for entry in record.metric_entries:
        if not isinstance(entry, str) and "label_check" in entry:
            return (entry["label_check"] or {}).get("named") or ()
    return ()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (f" and {counted(len(names) - 40, 'more class')}" if len(names) > 40 else "")


def _uncompared(record: JobRecord, tree: Mapping[str, Any]) -> list[str]:
    """Objects found in the output alone that no label could have: not counted, or counted for want of a list."""
    check = record.spec.source.labels.check
    assert check is not None
    other: Mapping[str, int] = tree.get("uncompared", {})
    if other:
        each = _listed([f"{name} ({number:,})" for name, number in other.items()])
        return [
            f"{counted(sum(other.values()), 'object')} found in the output alone "
            f"{_are(sum(other.values()))} of classes that are not compared, and not counted as invented: {each}"
        ]
    known = {known_as(name, tuple(tree["invented"])) for name in tree["classes"]} | set(check.map.values())
    unknown = {name: number for name, number in tree["invented"].items() if name not in known}
    if not unknown or check.classes or _named(record):
        return []
    each = _listed([f"{name} ({number:,})" for name, number in unknown.items()])
    return [
        f"The labels did not say beforehand which classes they have: {sum(unknown.values()):,} of the invented objects "
        f"{_are(sum(unknown.values()))} of classes that no label here has: {each}. source.labels.check.classes leaves "
        "such classes out"
    ]


def _result(line: SurvivalLine) -> str:
    if line.boxes == line.unchecked:
        return (
            "No labelled object could be compared: nothing is known of whether labels hold. labels.survival is 1 where "
            f"nothing was found before, so a filter on it keeps every picture; {counted(line.invented, 'object')} "
            f"{_were(line.invented)} invented where a picture has labels"
        )
    if not line.found:
        return (
            f"The detector found none of {counted(line.boxes - line.unchecked, 'checked object')} in the source: "
            "survival cannot be said"
        )
    assert line.interval is not None
    low, high = (100 * each for each in line.interval)
    return (
        f"Of {counted(line.found, 'labelled object')} found in the source {line.held:,} {_are(line.held)} held "
        f"({quantity.share(line.held, line.found)}; 95 %: {low:.1f} to {high:.1f} %), "
        f"{line.lost:,} {_are(line.lost)} lost, {line.changed:,} {does(line.changed, 'has/have')} become another "
        f"class; {line.invented:,} {_were(line.invented)} invented"
    )


def _unspoken(tree: Mapping[str, Any], lines: list[SurvivalLine]) -> list[str]:
    """What the table cannot answer: boxes that were not checked, and classes without any that was found."""
    found = []
    why: Mapping[str, int] = tree["all"]["unchecked"]
    if why:
        reasons = ", ".join(f"{number:,} {_WHY[name]}" for name, number in why.items())
        left = sum(why.values())
        found.append(f"{left:,} of {counted(tree['all']['boxes'], 'box')} {_were(left)} not checked: {reasons}")
    silent = [line.name for line in lines if line.boxes and not line.found]
    if silent:
        found.append(f"Nothing is known of: {', '.join(silent[:12])}{', ...' if len(silent) > 12 else ''}")
    return found


def _without_labels(summary: RunSummary, counted: int) -> list[str]:
    """Invented objects in pictures that have no labels, whose class the index does not keep."""
    column = summary.columns.get("labels.invented")
    total = round(column.count * column.mean) if column is not None and column.mean is not None else 0
    more = total - counted
    return [f"{more:,} more {_were(more)} invented in pictures without labels"] if more > 0 else []


def _filtered(row: Mapping[str, Any]) -> list[str]:
    if not row["boxes"] and not row["invented"]:
        return []
    gone = row["lost"] + row["class_changed"]
    return [
        f"All this is of the pictures in the data. In those that a filter dropped, {gone:,} of "
        f"{counted(row['found_before'], 'object')} found in the source {_are(gone)} lost or of another class, and "
        f"{row['invented']:,} {_were(row['invented'])} invented"
    ]


def _are(number: int) -> str:
    return does(number, "is/are")


def _were(number: int) -> str:
    return does(number, "was/were")
