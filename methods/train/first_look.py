"""A validation before the first step: what cannot be measured, or compared, is found before anything is written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from methods.errors import InputError
from methods.train.objective import Objective, Sample, Validation
from methods.train.selection import Selection


def first_look(
    objective: Objective,
    samples: Mapping[str, Sequence[Sample]],
    evaluate: Callable[[Path], Validation] | None,
    selection: Selection | None,
) -> Validation:
    """Validate a built objective as it is.

    Args:
        samples, evaluate, selection: see :class:`methods.train.loop.FitConfig`.

    Raises:
        InputError: the validation has no value of the selection's name, or ``evaluate`` raises it.
    """
    found = objective.validate(samples) if samples else Validation()
    if evaluate is not None:
        with tempfile.TemporaryDirectory(prefix="sceneshift-train-") as scratch:
            found = joined(found, evaluate(objective.export(Path(scratch) / "first.safetensors", None, {})))
    check_selection(found, selection)
    return found


def joined(own: Validation, more: Validation) -> Validation:
    """What an objective says of itself, with what the weights are worth to who runs them."""
    return Validation({**own.metrics, **more.metrics}, {**more.pictures, **own.pictures})


def check_selection(found: Validation, selection: Selection | None) -> None:
    """Raises InputError when a validation has not the value by which the best one is chosen."""
    if selection is not None and selection.metric not in found.metrics:
        values = ", ".join(sorted(found.metrics)) or "none"
        raise InputError(f"validation.best: no value '{selection.metric}' in the validation, it has: {values}")
