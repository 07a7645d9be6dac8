"""The moving average of trained weights (EMA), kept beside the objective and swapped in for validation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

Averaged = dict[str, dict[str, Tensor]]


class Average:
    """``average += (1 - decay) * (weight - average)`` over all trained parameters, with the usual warm-up.

    Frozen parameters are left out: they are what they were.

    Args:
        networks: by name, as ``Objective.networks`` returns them.
        decay: share kept per step; early steps keep ``min(decay, (1 + step) / (10 + step))``.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        self.networks = networks
        self.decay = decay
        self.values: Averaged = {
            name: {key: value.detach().clone() for key, value in _trained(network)}
            for name, network in networks.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` iterations."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, network in self.networks.items():
            values = self.values[name]
            for key, value in _trained(network):
                values[key].lerp_(value, 1 - decay)

    def load(self, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from a checkpoint's average; networks that it does not have keep their own."""
        with torch.no_grad():
            for name in self.values.keys() & values.keys():
                for key, value in self.values[name].items():
                    value.copy_(values[name][key])

    def contiguous(self) -> Averaged:
        """The values, each in the order of memory that files hold."""
        return {name: {k: v.contiguous() for k, v in values.items()} for name, values in self.values.items()}

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The networks carry the average inside, their own weights again after."""
        own = {name: {k: v.detach().clone() for k, v in _trained(net)} for name, net in self.networks.items()}
        self._write(self.values)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, network in self.networks.items():
            for key, parameter in _trained(network):
                parameter.copy_(values[name][key])


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    # a set frozen for one phase of a step is trained all the same: the objective restores it before the step ends
    return ((key, value) for key, value in network.named_parameters() if value.requires_grad)
