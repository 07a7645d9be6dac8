"""Whether labelled objects are still there after a translation, by what a detector finds before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.nn.detection.names import known_as
from pipeline.labels.records import Annotation, Labels

if TYPE_CHECKING:
    from methods.nn.detection.base import Detections

_NEW = 0.3
"""Overlap with anything known from which on a detection is no invention, only an imprecise box."""


@dataclass(frozen=True)
class CheckRules:
    """When a labelled box counts as found.

    Attributes:
        iou: least overlap of a labelled box and a detection, as intersection over union.
        score: least score of a detection.
        smallest: side in pixels below which a box is not checked.
        classes: what the detector knows.
        names: classes of labels that it knows under another name, besides those that
            :func:`methods.nn.detection.names.known_as` knows.
        wanted: the only classes of labels that are checked; ``None`` for all.
        named: classes that the labels may have: what none of them means to the detector is not invented, since no label
            could have said that it was there before. ``None`` where that is not known, then everything counts.
    """

    iou: float
    score: float
    smallest: float
    classes: tuple[str, ...]
    names: Mapping[str, str]
    wanted: Collection[str] | None = None
    named: Collection[str] | None = None

    def known(self, category: str) -> str | None:
        """The detector's name of a label's class; ``None`` for one it does not know."""
        name = self.names.get(category)
        return name if name in self.classes else known_as(category, self.classes)

    def comparable(self) -> frozenset[str]:
        """The detector's classes of which objects can be invented."""
        named = self.named if self.wanted is None else self.wanted
        if named is None:
            return frozenset(self.classes)
        return frozenset(name for each in named if (name := self.known(each)) is not None)


@dataclass(frozen=True)
class Agreement:
    """What the detector says of one picture's labels.

    Attributes:
        annotations: of each annotation, in order: ``{"unchecked": why}``, or ``found_before``, ``found_after``,
            ``class_kept``, ``iou`` (of the labelled box and what was found after) and, where it was found before,
            ``held``; ``{}`` for one without a box.
        invented: class, score and (x, y, width, height) of each object found after, neither before nor labelled.
        uncompared: the number of such objects of classes that are not comparable, by class.
    """

    annotations: list[dict[str, Any]]
    invented: list[tuple[str, float, tuple[float, float, float, float]]]
    uncompared: Mapping[str, int]

    @property
    def found_before(self) -> int:
        """Labelled boxes that the detector found in the source."""
        return sum(each.get("found_before", False) for each in self.annotations)

    @property
    def held(self) -> int:
        """Those of them that it still finds, with their class."""
        return sum(each.get("held", False) for each in self.annotations)

    @property
    def checked(self) -> int:
        """Labelled boxes that could be checked."""
        return sum("found_before" in each for each in self.annotations)


def agreement(labels: Labels | None, before: Detections, after: Detections, rules: CheckRules) -> Agreement:
    """Compare labels with what was found in the source and in the output, all in the output's pixels.

    Args:
        labels: of the picture; ``None`` for one without.
        before, after: detections of half the rules' score and more.
    """
    annotations = labels.annotations if labels is not None else []
    said: list[dict[str, Any]] = [{} for _ in annotations]
    checked: list[int] = []
    for at, each in enumerate(annotations):
        if each.bbox is None:
            continue
        why = _unchecked(each, rules)
        if why is None:
            checked.append(at)
        else:
            said[at] = {"unchecked": why}
    boxes = np.array([_corners(annotations[at]) for at in checked]).reshape(-1, 4)
    classes = [rules.known(annotations[at].category) or "" for at in checked]
    sure_before, sure_after = before.above(rules.score), after.above(rules.score)
    first = _matched(boxes, classes, sure_before, rules.iou)
    kept = _matched(boxes, classes, sure_after, rules.iou)
    others = _matched(boxes, None, sure_after, rules.iou, taken=kept)
    for number, at in enumerate(checked):
        found = kept.get(number, others.get(number))
        entry: dict[str, Any] = {"found_before": number in first, "found_after": found is not None}
        if found is not None:
            entry |= {"class_kept": number in kept, "iou": round(found[1], 4)}
        if entry["found_before"]:
            entry["held"] = number in kept
        said[at] = entry
    invented, comparable = _invented(annotations, before, sure_after, rules.score), rules.comparable()
    return Agreement(
        said,
        [each for each in invented if each[0] in comparable],
        Counter(each[0] for each in invented if each[0] not in comparable),
    )


def _unchecked(each: Annotation, rules: CheckRules) -> str | None:
    assert each.bbox is not None
    if each.iscrowd:
        return "crowd"
    if rules.wanted is not None and each.category not in rules.wanted:
        return "left out"
    if rules.known(each.category) is None:
        return "class"
    return "small" if min(each.bbox[2:]) < rules.smallest else None


def _matched(
    boxes: np.ndarray,
    classes: list[str] | None,
    found: Detections,
    least: float,
    taken: Mapping[int, tuple[int, float]] | None = None,
) -> dict[int, tuple[int, float]]:
    """Number of a box -> (number of its detection, overlap), each used once, the largest overlaps first."""
    if not len(boxes) or not len(found):
        return {}
    overlaps = overlap(boxes, found.boxes)
    if classes is not None:
        overlaps = overlaps * (np.array(classes)[:, None] == np.array(found.classes)[None, :])
    for box, (detection, _) in (taken or {}).items():
        overlaps[box, :] = 0
        overlaps[:, detection] = 0
    pairs: dict[int, tuple[int, float]] = {}
    used: set[int] = set()
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        box, detection = (int(each) for each in np.unravel_index(flat, overlaps.shape))
        if overlaps[box, detection] < least:
            break
        if box not in pairs and detection not in used:
            pairs[box] = (detection, float(overlaps[box, detection]))
            used.add(detection)
    return pairs


def _invented(
    annotations: list[Annotation], before: Detections, after: Detections, sure: float
) -> list[tuple[str, float, tuple[float, float, float, float]]]:
    known = np.array([_corners(each) for each in annotations if each.bbox is not None]).reshape(-1, 4)
    crowds = np.array([_corners(each) for each in annotations if each.bbox is not None and each.iscrowd]).reshape(-1, 4)
    new = [
        at
        for at, box in enumerate(after.boxes)
        if not (overlap(box[None], np.concatenate([known, _half_seen(before, after.scores[at], sure)])) >= _NEW).any()
        and not (overlap(box[None], crowds, of_first=True) >= _NEW).any()
    ]
    found = []
    for at in new:
        left, top, right, bottom = (round(float(each), 2) for each in after.boxes[at])
        box = (left, top, round(right - left, 2), round(bottom - top, 2))
        found.append((after.classes[at], round(float(after.scores[at]), 4), box))
    return found


def _half_seen(before: Detections, score: float, sure: float) -> np.ndarray:
    """Boxes of what was found before, or at least with half of this score.

    Some detectors give a low score to almost every place; half of any score that counts would hide what is new there.
    """
    return before.boxes[before.scores >= min(sure, score / 2)]


def overlap(a: np.ndarray, b: np.ndarray, *, of_first: bool = False) -> np.ndarray:
    """(N, M) intersection over union of (N, 4) and (M, 4) corners; over the area of ``a`` with ``of_first``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (a, b)]
    whole = areas[0][:, None] + (0 if of_first else areas[1][None, :] - shared)
    return np.where(whole > 0, shared / np.maximum(whole, 1e-12), 0.0)


def _corners(each: Annotation) -> tuple[float, float, float, float]:
    assert each.bbox is not None
    x, y, width, height = each.bbox
    return x, y, x + width, y + height
