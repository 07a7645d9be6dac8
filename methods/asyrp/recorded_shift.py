"""Shifts that are the same for every picture: the mean of a DeltaBlock's, or trained without a block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.errors import InputError

EVERY = 0
"""The key of the one shift for all timesteps."""


class RecordedShift(nn.Module):
    """One shift (1, C, h, w) a timestep; between them, that of the nearest one.

    Args:
        shifts: by timestep, (1, C, h, w) float32.
    """

    def __init__(self, shifts: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.timesteps = sorted(shifts)
        self.shifts = nn.Parameter(torch.cat([shifts[timestep] for timestep in self.timesteps]), requires_grad=False)

    def at(self, timestep: int) -> Tensor:
        """(1, C, h, w) of a timestep; of two that are equally near, the noisier one's."""
        nearest = min(range(len(self.timesteps)), key=lambda n: (abs(self.timesteps[n] - timestep), -n))
        return self.shifts[nearest : nearest + 1]

    def by_timestep(self) -> dict[int, Tensor]:
        """A copy of each, (1, C, h, w)."""
        return dict(zip(self.timesteps, self.shifts.detach().clone().split(1), strict=True))


def recorded_shift(content: Mapping[Any, Any], path: Path, shape: tuple[int, int, int], every: bool) -> RecordedShift:
    """The shifts of a file in the release's formats.

    Args:
        content: ``checkpoint_latent/*.pth`` (by timestep as a number, (1, C, h, w); 0 is the mean over timesteps) or
            the file of ``train_delta_h`` (by timestep as a text, (C, h, w)). ``None`` entries count for nothing.
        path: for messages.
        shape: (C, h, w) of the UNet's bottleneck.
        every: take the one shift for all timesteps.

    Raises:
        InputError: shifts of another shape, or none of the kind that is wanted.
    """
    found = {int(key): value for key, value in content.items() if str(key).isdigit() and value is not None}
    wanted = {EVERY: found[EVERY]} if every and EVERY in found else {t: v for t, v in found.items() if t != EVERY}
    if every and EVERY not in found:
        raise InputError(f"{path}: holds no shift '0' for all timesteps, which ignore_timesteps asks for")
    if not wanted:
        raise InputError(f"{path}: holds one shift for all timesteps: set method.params.ignore_timesteps")
    for timestep, value in wanted.items():
        size = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if size not in (shape, (1, *shape)):
            raise InputError(f"{path}: the shift of timestep {timestep} is {size}, expected {shape} of the bottleneck")
    return RecordedShift({timestep: value.detach().float().reshape(1, *shape) for timestep, value in wanted.items()})


def save_shifts(path: Path, shifts: Mapping[int, Tensor]) -> Path:
    """Write shifts (1, C, h, w) by timestep as the release writes its means; under 0 their mean over timesteps, or the
    one shift for all of them."""
    whole = torch.stack(list(shifts.values())).mean(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**{timestep: value.cpu() for timestep, value in shifts.items()}, EVERY: whole.cpu()}, path)
    return path
