"""The translators: pure torch, importable alone, no Ray and no file listing.

``methods.load(name, preset=...)`` builds one; ``methods.registered()`` lists them. The names below are imported when
they are first used, so that ``methods.errors`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from methods import environment, telemetry

if TYPE_CHECKING:
    from methods.base import Batch, Inputs, Method, MethodInfo, MethodParams, Preset, sample_seed
    from methods.errors import BadSample, InputError
    from methods.registry import info, load, registered, resolve

_HOMES = {
    "Batch": "base",
    "Inputs": "base",
    "Method": "base",
    "MethodInfo": "base",
    "MethodParams": "base",
    "Preset": "base",
    "sample_seed": "base",
    "BadSample": "errors",
    "InputError": "errors",
    "info": "registry",
    "load": "registry",
    "registered": "registry",
    "resolve": "registry",
}

# before anything asks for a variable
environment.take_over()
telemetry.switch_off()

__all__ = [
    "BadSample",
    "Batch",
    "InputError",
    "Inputs",
    "Method",
    "MethodInfo",
    "MethodParams",
    "Preset",
    "info",
    "load",
    "registered",
    "resolve",
    "sample_seed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'methods' has no attribute '{name}'")
    return getattr(importlib.import_module(f"methods.{_HOMES[name]}"), name)
