"""How many labelled objects of each class survive a translation: counted from the index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.labels.check_names import INVENTED, MEASURED, UNCOMPARED

_Z = 1.959964
_UNCHECKED = "unchecked."


@dataclass
class SurvivalTable:
    """Counts by class of the labels, added up over any number of pictures in any order.

    Attributes:
        classes: class -> counts of ``boxes``, ``checked``, ``found_before``, ``held``, ``class_changed``, ``lost``, and
            of boxes that were not checked by the reason, ``unchecked.small`` for one.
        invented: class of the detector -> objects found after, neither before nor labelled.
        uncompared: the same for classes that the labels cannot have, which are not counted as invented.
    """

    classes: dict[str, Counter[str]] = field(default_factory=dict)
    invented: Counter[str] = field(default_factory=Counter)
    uncompared: Counter[str] = field(default_factory=Counter)

    def add(self, labels: Iterable[Mapping[str, Any] | None]) -> None:
        """Take in cells of the index column ``labels``."""
        for cell in labels:
            if cell is None:
                continue
            attributes = json.loads(cell["attributes"])
            for name, *_ in json.loads(attributes.get(INVENTED, "[]")):
                self.invented[name] += 1
            self.uncompared.update(json.loads(attributes.get(UNCOMPARED, "{}")))
            for each in cell["annotations"]:
                said = json.loads(each["attributes"]).get(MEASURED, {})
                if "found_before" in said or "unchecked" in said:
                    self._count(self.classes.setdefault(each["category"], Counter()), said)

    def _count(self, counts: Counter[str], said: Mapping[str, Any]) -> None:
        counts["boxes"] += 1
        if "unchecked" in said:
            counts[f"{_UNCHECKED}{said['unchecked']}"] += 1
            return
        counts["checked"] += 1
        if not said["found_before"]:
            return
        counts["found_before"] += 1
        if said["held"]:
            counts["held"] += 1
        else:
            counts["class_changed" if said["found_after"] else "lost"] += 1

    def as_tree(self) -> dict[str, Any]:
        """JSON-ready: by class the counts, ``unchecked`` by reason, ``survival`` (held of those found before) and its
        95 % interval; ``invented`` and ``uncompared`` by the detector's classes."""
        return {
            "classes": {name: _row(counts) for name, counts in sorted(self.classes.items())},
            "all": _row(sum(self.classes.values(), Counter())),
            "invented": dict(sorted(self.invented.items())),
            "uncompared": dict(sorted(self.uncompared.items())),
        }


def _row(counts: Counter[str]) -> dict[str, Any]:
    names = ("boxes", "checked", "found_before", "held", "class_changed", "lost")
    seen, held = counts["found_before"], counts["held"]
    low, high = wilson(held, seen)
    return {
        **{name: counts[name] for name in names},
        "unchecked": {
            name.removeprefix(_UNCHECKED): counts[name] for name in sorted(counts) if name.startswith(_UNCHECKED)
        },
        "survival": held / seen if seen else None,
        "ci95": [low, high] if seen else None,
    }


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, squared = successes / trials, _Z * _Z
    middle = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = _Z / (1 + squared / trials) * (share * (1 - share) / trials + squared / (4 * trials * trials)) ** 0.5
    # the formula gives 0 and 1 at the ends, but for the last bit
    low = max(0.0, middle - half) if successes else 0.0
    return low, min(1.0, middle + half) if successes < trials else 1.0
