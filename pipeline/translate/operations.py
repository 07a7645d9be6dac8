"""Floating point operations of a method for a picture, counted once per process by translating one more time."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from methods.base import Batch, Method
from methods.errors import first_line
from pipeline.logs.context import log_context

_log = logging.getLogger(f"sceneshift.{__name__}")

ENOUGH = 16
"""Pictures that a process has translated before it counts: at most so much of its work is one more of them."""


class OperationCounter(TorchDispatchMode):
    """Inside, operations of convolutions, matrix products and attention are counted, those of this thread alone.

    A multiplication and an addition are two operations. Operators are taken apart to be counted, so that results may
    differ in the last bit from those of the same calls outside. What torch fuses whole (the fast path of its own
    transformer layers) is not counted.

    Attributes:
        operations: so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take one call apart, or make and count it."""
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=made)
        return made


class OperationCount:
    """What a picture takes of one method, once its process has translated enough of them.

    Counting takes a pass of its own: it would change what the pictures look like, by their last bits.

    Args:
        after: pictures that are to be translated before; ``None`` counts nothing, where nobody wants to know.

    Attributes:
        per_image: operations; ``None`` before they are counted, and where the method calls nothing that counts.
    """

    def __init__(self, after: int | None = None) -> None:
        self.after = after
        self.per_image: int | None = None
        self._translated = 0
        self._done = False

    def translated(self, method: Method, batch: Batch, compiled: bool) -> None:
        """Say that a batch was translated; where it is time, its first picture is translated again and counted.

        Raises nothing: a method that cannot be counted is worth a line in the log.

        Args:
            compiled: whether networks are compiled; they are counted as they are without it.
        """
        self._translated += len(batch)
        if self._done or self.after is None or self._translated < self.after:
            return
        self._done = True
        first = batch.first()
        try:
            # A target of no job: nobody counts what the method says of this picture a second time.
            with log_context(target="counting operations"), torch.inference_mode(), OperationCounter() as counter:
                if compiled:
                    with torch.compiler.set_stance("force_eager"):
                        method.translate(first)
                else:
                    method.translate(first)
        except Exception as error:
            _log.info("operations of %s are not counted: %s", method.info.name, first_line(error))
            return
        self.per_image = counter.operations or None


def device_name(device: torch.device) -> str:
    """The name of a device as its driver gives it; ``cpu`` for any processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
