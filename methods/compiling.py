"""torch.compile for the heavy parts of a method: static shapes, and machine code that is kept beside the weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn

from methods.base import Method
from methods.errors import InputError, first_line

_PLACE = "TORCHINDUCTOR_CACHE_DIR"
_SHAPES = 1024
"""How many shapes of one part are compiled: more than torch's 8, after which it would go on uncompiled in silence."""


class Compilable(Method, Protocol):
    """A method whose ``info.compiles`` is true."""

    def heavy(self) -> Sequence[tuple[Any, str]]:
        """(owner, attribute) of the modules and functions that take the time, none inside of another."""
        ...


def compile_heavy(method: Method, backend: str = "inductor") -> None:
    """Have the heavy parts of a method compiled when they are first called with a shape.

    What was compiled is kept in the folder ``compiled`` of the weights' cache, unless ``TORCHINDUCTOR_CACHE_DIR`` names
    another, and found there by later processes. Parts that several methods share are compiled once. Nothing falls back
    to uncompiled code: what cannot be compiled raises (see :func:`is_compile_error`).

    Args:
        backend: of torch.compile.

    Raises:
        InputError: the method has nothing to compile, or this machine cannot compile, for want of a C++ compiler.
    """
    if not method.info.compiles:
        raise InputError(f"compute.compile: method '{method.info.name}' has nothing to compile: set it to false")
    _set_up(method.device)
    _probe(method.device, backend)
    for owner, name in cast(Compilable, method).heavy():
        part = getattr(owner, name)
        if isinstance(part, nn.Module):
            if part._compiled_call_impl is None:
                part.compile(backend=backend, dynamic=False)
        elif not hasattr(part, "_torchdynamo_orig_callable"):
            setattr(owner, name, torch.compile(part, backend=backend, dynamic=False))


def is_compile_error(error: BaseException) -> bool:
    """Whether an exception of a compiled method says that it could not be compiled."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def compile_reason(error: BaseException) -> str:
    """Why something could not be compiled, in one line: torch names its backend first, what that says comes after."""
    return first_line(getattr(error, "inner_exception", error), 200)


def _set_up(device: torch.device) -> None:
    import torch._dynamo.config
    import torch._inductor.config
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    from methods.weights.cache import cache_folder

    # torch names a folder of its own below /tmp as soon as a part of it is imported, by whomever
    if os.environ.get(_PLACE) in (None, os.path.abspath(default_cache_dir())):
        os.environ[_PLACE] = str(cache_folder() / "compiled")
    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.accumulated_recompile_limit = 64 * _SHAPES
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    if device.type == "cpu":
        # workers share the cores already
        torch._inductor.config.compile_threads = 1


def _probe(device: torch.device, backend: str) -> None:
    """A first small compilation, so that a machine without a compiler is found before the first picture."""

    def small(x: torch.Tensor) -> torch.Tensor:
        return x.sin() * 2 + 1

    try:
        torch.compile(small, backend=backend, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:
        raise InputError(
            f"compute.compile: torch cannot compile on this machine ({compile_reason(error)}); install a C++ compiler "
            "(g++), or set compute.compile: false"
        ) from None
