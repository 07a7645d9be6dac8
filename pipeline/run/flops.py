"""Floating point operations of a method, counted while it works."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from methods.base import Batch, Method


class Counted:
    """A method as it is, whose ``translate`` is counted: convolutions, matrix products and attention.

    Attributes:
        method: the method itself.
        operations: floating point operations so far, a multiplication and an addition being two.
        images: pictures that they were for.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.operations, self.images = 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)

    def translate(self, batch: Batch) -> torch.Tensor:
        """As of the method."""
        with FlopCounterMode(display=False) as counter:
            made = self.method.translate(batch)
        self.operations += counter.get_total_flops()
        self.images += len(batch.inputs)
        return made

    @property
    def tflop_per_image(self) -> float | None:
        """Trillions of operations per picture; ``None`` where nothing was counted."""
        return self.operations / self.images / 1e12 if self.operations else None
