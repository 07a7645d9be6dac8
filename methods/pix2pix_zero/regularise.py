"""Making predicted noise look like white noise during inversion (section 3.1 of arXiv 2302.03027).

The release descends two losses by autograd, one image at a time. Both have short gradients in closed form, which are
used here for whole batches; every image has its own shifts and its own moments, so that a batch changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_LEVEL = 8


@dataclass(frozen=True)
class Regularisation:
    """How strongly, and how often, noise is regularised in one step of the inversion.

    Attributes:
        autocorrelation: weight of the pairwise term.
        divergence: weight of the Kullback-Leibler term.
        rounds: rounds of both, one after the other.
        shifts: random shifts in one round; each is followed at once, with a share of the weight.
    """

    autocorrelation: float = 20.0
    divergence: float = 20.0
    rounds: int = 5
    shifts: int = 5

    @property
    def active(self) -> bool:
        """Whether it does anything."""
        return self.rounds > 0 and (self.autocorrelation > 0 or self.divergence > 0)


def pyramid_levels(rows: int) -> int:
    """Levels of the pyramid for a field of so many rows: halved until at most 8 are left. Columns do not count."""
    levels = 1
    while rows > SMALLEST_LEVEL:
        rows, levels = rows // 2, levels + 1
    return levels


def shifts_from_noise(normal: Tensor, rows: int) -> Tensor:
    """Standard normal numbers (..., levels) -> uniform whole shifts, from 1 to half a level's rows (excluded).

    Drawn this way shifts come from the same per-sample generator as all other random numbers.

    Raises:
        ValueError: fewer than 4 rows, where no shift is left.
    """
    if rows < 4:
        raise ValueError(f"{rows} rows, expected at least 4")
    uniform = 0.5 * (1.0 + torch.erf(normal.double() / 2**0.5))
    choices = torch.tensor([(rows >> level) // 2 - 1 for level in range(normal.shape[-1])], dtype=torch.float64)
    return 1 + (uniform * choices).floor().clamp(max=choices - 1).long()


def autocorrelation_gradient(noise: Tensor, shifts: Tensor) -> Tensor:
    """Gradient of the autocorrelation loss with respect to ``noise``.

    The loss of one channel sums, over the levels of a 2x2-average pyramid and over both axes,
    ``mean(n * roll(n, r))**2``. With s that mean over M pixels, the gradient of ``s**2`` is
    ``2 s (roll(n, r) + roll(n, -r)) / M``; a pooled level hands a quarter down to each of its four pixels.

    Args:
        noise: (B, C, H, W) float32.
        shifts: (B, C, levels) int64; one number serves both axes.
    """
    levels = [noise]
    for _ in range(shifts.shape[-1] - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    below: Tensor | None = None
    for number in reversed(range(len(levels))):
        field, shift = levels[number], shifts[..., number]
        total = torch.zeros_like(field)
        for axis in (2, 3):
            forth, back = _rolled(field, shift, axis), _rolled(field, -shift, axis)
            mean = (field * forth).mean((2, 3), keepdim=True)
            total += 2.0 / (field.shape[2] * field.shape[3]) * mean * (forth + back)
        if below is not None:
            spread = F.interpolate(below, scale_factor=2.0, mode="nearest") / 4
            total[..., : spread.shape[2], : spread.shape[3]] += spread
        below = total
    assert below is not None
    return below


def divergence_gradient(noise: Tensor) -> Tensor:
    """Gradient of ``v + m**2 - 1 - log(v + 1e-7)`` with m and v (unbiased) of each whole image.

    Args:
        noise: (B, C, H, W) float32.
    """
    count = noise[0].numel()
    mean = noise.mean((1, 2, 3), keepdim=True)
    variance = noise.var((1, 2, 3), keepdim=True)
    return 2 * (noise - mean) / (count - 1) * (1 - 1 / (variance + 1e-7)) + 2 * mean / count


def regularise(noise: Tensor, settings: Regularisation, shifts: Tensor) -> Tensor:
    """Regularised noise.

    Args:
        noise: (B, C, H, W) float32.
        settings: weights and counts.
        shifts: (B, rounds, shifts, C, levels) int64.
    """
    for outer in range(settings.rounds):
        if settings.autocorrelation > 0:
            for inner in range(settings.shifts):
                gradient = autocorrelation_gradient(noise, shifts[:, outer, inner])
                noise = noise - settings.autocorrelation / settings.shifts * gradient
        if settings.divergence > 0:
            noise = noise - settings.divergence * divergence_gradient(noise)
    return noise


def _rolled(field: Tensor, shift: Tensor, axis: int) -> Tensor:
    """``torch.roll`` along ``axis`` with one shift for each image and channel."""
    size = field.shape[axis]
    places = (torch.arange(size, device=field.device) - shift[..., None]) % size
    places = places[..., None] if axis == 2 else places[..., None, :]
    return field.gather(axis, places.expand_as(field))
