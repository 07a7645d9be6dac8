"""In which precision a training step computes: float32, or bfloat16 where torch has it (weights stay float32)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def computing_in(precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Convolutions and products of matrices inside are in ``precision``; nothing changes for float32.

    Losses belong outside: a difference of two numbers of 8 bits has few bits left.
    """
    if precision == torch.float32:
        yield
        return
    with contextlib.ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(_AttentionInFloat32())
        stack.enter_context(torch.autocast(device.type, precision))
        yield


class _AttentionInFloat32(TorchFunctionMode):
    """Fused attention alone stays in float32: on a CPU torch's is two to six times slower backwards in bfloat16."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is not F.scaled_dot_product_attention:
            return func(*args, **given)
        dtype = (args[0] if args else given["query"]).dtype
        with torch.autocast("cpu", enabled=False):
            return func(*map(_widened, args), **{name: _widened(value) for name, value in given.items()}).to(dtype)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
