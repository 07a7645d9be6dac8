"""Finding and building methods by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from methods.base import Method, MethodInfo, MethodParams
from methods.errors import InputError

if TYPE_CHECKING:
    import torch

GROUP = "sceneshift.methods"


def nearest(word: str, known: list[str]) -> str:
    """`` (did you mean 'x'?)`` when something known is close, else the list of what is known."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


@cache
def registered() -> dict[str, MethodInfo]:
    """Every installed method by name. Importing a description imports no torch."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


def info(name: str) -> MethodInfo:
    """The description of one method. Raises InputError that names the nearest one."""
    known = registered()
    if name not in known:
        raise InputError(f"unknown method '{name}': {nearest(name, list(known))}")
    return known[name]


def resolve(
    name: str, preset: str | None = None, weights: str | None = None, params: dict[str, Any] | None = None
) -> tuple[MethodInfo, MethodParams, str | None]:
    """Merge preset, explicit weights and explicit parameters into what a method is built from.

    Raises:
        InputError: unknown method, preset or parameter (the nearest is named), or a value of the wrong kind.
    """
    method = info(name)
    chosen: dict[str, Any] = {}
    if preset is not None:
        if preset not in method.presets:
            raise InputError(f"method '{name}' has no preset '{preset}': {nearest(preset, list(method.presets))}")
        chosen = dict(method.presets[preset].params)
        weights = weights or method.presets[preset].weights
    chosen.update(params or {})
    try:
        return method, method.params(**chosen), weights
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(where, list(method.params.model_fields))
            raise InputError(f"method '{name}' has no parameter '{where}': {hint}") from None
        raise InputError(f"method.params.{where}: {first['msg']} (got {first['input']!r})") from None


def load(
    name: str,
    preset: str | None = None,
    weights: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    **params: Any,
) -> Method:
    """Build a method: ``methods.load("cyclegan_turbo", preset="day_to_night", device="cuda")``.

    Raises:
        InputError: as :func:`resolve`, or when the weights cannot be found or do not fit.
    """
    import torch

    method, checked, weights = resolve(name, preset, weights, params)
    module, _, attribute = method.implementation.partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"method '{name}' was asked onto '{where}' but this machine has no CUDA device: use 'cpu'")
    return cls.build(checked, weights, where, getattr(torch, dtype) if isinstance(dtype, str) else dtype)
