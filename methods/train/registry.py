"""Finding and building objectives by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from methods.plugins import Registry, checked, implementation
from methods.train.objective import Objective, ObjectiveInfo, ObjectiveParams
from methods.uris import resolved

if TYPE_CHECKING:
    import torch

OBJECTIVES: Registry[ObjectiveInfo] = Registry("objective", "sceneshift.objectives")


def registered() -> dict[str, ObjectiveInfo]:
    """Every installed objective by name. Importing a description imports no torch."""
    return OBJECTIVES.all


def info(name: str) -> ObjectiveInfo:
    """The description of one objective. Raises InputError that names the nearest one."""
    return OBJECTIVES.info(name)


def resolve(name: str, params: Mapping[str, Any] | None = None) -> tuple[ObjectiveInfo, ObjectiveParams]:
    """The description and the checked parameters.

    Raises:
        InputError: unknown objective or parameter (the nearest is named), or a value of the wrong kind.
    """
    found = info(name)
    return found, checked(found.params, params or {}, f"objective '{name}'", "objective.params")


def build(
    name: str,
    params: Mapping[str, Any] | None,
    device: torch.device,
    precision: torch.dtype,
    steps: int,
) -> Objective:
    """A built objective. Raises InputError as :func:`resolve`, or when its weights cannot be found or do not fit."""
    found, values = resolve(name, params)
    return implementation(found.implementation).build(resolved(values), device, precision, steps)
