"""Random numbers of one training step, by name, from one CPU generator: the same on every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Draws:
    """Draws in the order it is asked; names are for replaying a reference run.

    Args:
        generator: on the CPU.
        device: where the numbers are needed.
        recorded: draws by name; one found here is not drawn.
    """

    def __init__(
        self, generator: torch.Generator, device: torch.device, recorded: Mapping[str, Tensor] | None = None
    ) -> None:
        self.generator = generator
        self.device = device
        self.recorded = recorded or {}

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        """Standard normal, float32."""
        found = self.recorded.get(name)
        return (torch.randn(*shape, generator=self.generator) if found is None else found).to(self.device)

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        """U(0, 1), float32."""
        found = self.recorded.get(name)
        return (torch.rand(*shape, generator=self.generator) if found is None else found).to(self.device)

    def integers(self, name: str, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Whole numbers of [low, high), int64."""
        found = self.recorded.get(name)
        return (torch.randint(low, high, shape, generator=self.generator) if found is None else found).to(self.device)
