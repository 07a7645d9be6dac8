"""Finding and building methods by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from methods.base import Method, MethodInfo, MethodParams
from methods.errors import InputError
from methods.plugins import Registry, checked, implementation, nearest
from methods.uris import resolved, resolved_uri

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(f"sceneshift.{__name__}")

METHODS: Registry[MethodInfo] = Registry("method", "sceneshift.methods")


def registered() -> dict[str, MethodInfo]:
    """Every installed method by name. Importing a description imports no torch."""
    return METHODS.all


def info(name: str) -> MethodInfo:
    """The description of one method. Raises InputError that names the nearest one."""
    return METHODS.info(name)


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
            raise InputError(f"method '{name}' has no preset '{preset}': {nearest(preset, method.presets)}")
        chosen = dict(method.presets[preset].params)
        weights = weights or method.presets[preset].weights
    chosen.update(params or {})
    return method, checked(method.params, chosen, f"method '{name}'", "method.params"), weights


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

    from methods.nn.slow_precision import slow_precision

    method, values, weights = resolve(name, preset, weights, params)
    cls = implementation(method.implementation)
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"method '{name}' was asked onto '{where}' but this machine has no CUDA device: use 'cpu'")
    precision = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    if slow := slow_precision(where, precision):
        _log.warning("compute.dtype: %s", slow)
    return cls.build(resolved(values), weights and resolved_uri(weights), where, precision)
