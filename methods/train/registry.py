"""Finding and building objectives by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from methods.errors import InputError
from methods.registry import nearest
from methods.train.objective import Objective, ObjectiveInfo, ObjectiveParams

if TYPE_CHECKING:
    import torch

GROUP = "sceneshift.objectives"


@cache
def registered() -> dict[str, ObjectiveInfo]:
    """Every installed objective by name. Importing a description imports no torch."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


def info(name: str) -> ObjectiveInfo:
    """The description of one objective. Raises InputError that names the nearest one."""
    known = registered()
    if name not in known:
        raise InputError(f"unknown objective '{name}': {nearest(name, list(known))}")
    return known[name]


def resolve(name: str, params: Mapping[str, Any] | None = None) -> tuple[ObjectiveInfo, ObjectiveParams]:
    """The description and the checked parameters.

    Raises:
        InputError: unknown objective or parameter (the nearest is named), or a value of the wrong kind.
    """
    found = info(name)
    try:
        return found, found.params(**(params or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(where, list(found.params.model_fields))
            raise InputError(f"objective '{name}' has no parameter '{where}': {hint}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"objective.params{'.' + where if where else ''}: {message}") from None


def build(
    name: str,
    params: Mapping[str, Any] | None,
    device: torch.device,
    precision: torch.dtype,
    steps: int,
) -> Objective:
    """A built objective. Raises InputError as :func:`resolve`, or when its weights cannot be found or do not fit."""
    found, checked = resolve(name, params)
    module, _, attribute = found.implementation.partition(":")
    return getattr(importlib.import_module(module), attribute).build(checked, device, precision, steps)
