"""Which validation of a training is the best, and whether it is worth going on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """How validations are compared.

    Attributes:
        metric: the name of the value that decides.
        higher: whether more of it is better.
        patience: validations without a better one after which a training ends; ``None`` for never.
        after: validations up to this step are no candidates: the look before the first step, and what came before
            another metric was named.
    """

    metric: str
    higher: bool
    patience: int | None = None
    after: int = 0

    def chooses_as(self, other: Selection | None) -> bool:
        """Whether both prefer the same validations."""
        return other is not None and (self.metric, self.higher) == (other.metric, other.higher)


@dataclass(frozen=True)
class Standing:
    """The best validation so far: its step and value, and how many have come after it."""

    step: int
    value: float
    since: int


def given_up(rows: Sequence[Mapping[str, float]], selection: Selection | None) -> bool:
    """Whether the validations ``rows`` have gone on for as long as ``patience`` allows without a better one."""
    if selection is None or selection.patience is None:
        return False
    best = standing(rows, selection)
    return best is not None and best.since >= selection.patience


def standing(rows: Sequence[Mapping[str, float]], selection: Selection) -> Standing | None:
    """The best of the validations ``rows`` (with ``step``, in order), the first of equal ones; ``None`` without any."""
    best: Standing | None = None
    for row in rows:
        if row["step"] <= selection.after:
            continue
        value = row.get(selection.metric, math.nan)
        better = best is None or (value > best.value if selection.higher else value < best.value)
        if math.isfinite(value) and better:
            best = Standing(int(row["step"]), float(value), 0)
        elif best is not None:
            best = Standing(best.step, best.value, best.since + 1)
    return best
