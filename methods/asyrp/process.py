"""Asyrp's way to noise and back: which timesteps, at which noise levels, edited or with fresh noise (section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from methods.asyrp.recorded_shift import RecordedShift
from methods.nn.ddim import ddim_step, predicted_x0
from methods.nn.guided_unet import Encoded
from methods.nn.noise_schedule import alphas_cumprod
from methods.nn.unconditional import Denoiser

Shift = Callable[[Tensor, Tensor, int], Tensor]
"""(bottleneck features, time embedding, timestep) -> shifted features."""


@dataclass(frozen=True)
class ReverseStep:
    """One step of the reverse process.

    Attributes:
        timestep: the network's timestep input.
        alpha_from, alpha_to: cumulative alpha before and after; after the last step it is exactly 1.
        edited: whether the predicted x0 comes from the shifted bottleneck.
        eta: 0, or 1 where fresh noise is added.
        direction: factor on the direction to x_t (the release's ``dt_lambda``).
    """

    timestep: int
    alpha_from: float
    alpha_to: float
    edited: bool = False
    eta: float = 0.0
    direction: float = 1.0

    @property
    def sigma(self) -> float:
        """Standard deviation of the fresh noise (equation 16 of DDIM)."""
        spread = (1 - self.alpha_from / self.alpha_to) * (1 - self.alpha_to) / (1 - self.alpha_from)
        return self.eta * math.sqrt(max(spread, 0.0))


def linear_alphas(beta_start: float, beta_end: float, steps: int = 1000) -> Tensor:
    """Alpha-bar (steps,) float32 of betas that rise linearly; the products are taken in float32 as in the release."""
    return alphas_cumprod(torch.linspace(beta_start, beta_end, steps, dtype=torch.float64))


def sequence(steps: int, t_0: int) -> list[int]:
    """``steps`` timesteps from 0 to ``t_0``, ascending."""
    return [int(i / (steps - 1) * t_0 + 1e-6) for i in range(steps)]


def reverse_plan(
    alphas: Tensor,
    timesteps: Sequence[int],
    t_edit: int,
    t_boost: int,
    dt_lambda: float = 1.0,
    dt_end: int = 999,
) -> list[ReverseStep]:
    """The way back over ``timesteps`` (ascending): edited while t >= t_edit, with fresh noise while t < t_boost.

    While t >= ``dt_end``, the direction to x_t is multiplied by ``dt_lambda``.
    """
    levels = [1.0, *(float(alphas[t]) for t in timesteps)]
    return [
        ReverseStep(
            t,
            levels[i + 1],
            levels[i],
            edited=t >= t_edit,
            eta=1.0 if t < t_boost else 0.0,
            direction=dt_lambda if t >= dt_end else 1.0,
        )
        for i, t in reversed(list(enumerate(timesteps)))
    ]


@torch.no_grad()
def invert(unet: Denoiser, images: Tensor, alphas: Tensor, timesteps: Sequence[int]) -> Tensor:
    """DDIM inversion: (B, 3, H, W) pictures in [-1, 1] -> the noise they come from.

    ``len(timesteps) - 1`` steps; the network always gets the lower timestep, never the last one.
    """
    x = images
    for now, then in pairwise(timesteps):
        x = ddim_step(x, plain_noise(unet, x, now), float(alphas[now]), float(alphas[then]))
    return x


def plain_noise(unet: Denoiser, x: Tensor, timestep: int) -> Tensor:
    """Predicted noise (B, 3, H, W), without a learned variance."""
    embedding = unet.embed(_timesteps(x, timestep))
    return unet.decode(unet.encode(x, embedding), embedding)[:, :3]


def noise_pair(unet: Denoiser, x: Tensor, timestep: int, shift: Shift) -> tuple[Tensor, Tensor]:
    """Predicted noise, plain and with the shifted bottleneck; one encoder pass, both decoded as one batch."""
    embedding = unet.embed(_timesteps(x, timestep))
    encoded = unet.encode(x, embedding)
    both = Encoded(
        torch.cat([encoded.bottleneck, shift(encoded.bottleneck, embedding, timestep)]),
        tuple(torch.cat([skip, skip]) for skip in encoded.skips),
    )
    plain, shifted = unet.decode(both, torch.cat([embedding, embedding]))[:, :3].chunk(2)
    return plain, shifted


def update(
    x: Tensor, plain: Tensor, shifted: Tensor, step: ReverseStep, fresh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The asymmetric DDIM step (equation 9): x0 from ``shifted``, the direction to x_t from ``plain``.

    Args:
        fresh: standard normal noise, needed where ``step.sigma`` is not 0.

    Returns:
        The next x, and the predicted x0; neither is clamped.
    """
    x0 = predicted_x0(x, shifted, step.alpha_from)
    direction = math.sqrt(max(1 - step.alpha_to - step.sigma**2, 0.0))
    following = math.sqrt(step.alpha_to) * x0 + step.direction * direction * plain
    if step.sigma:
        assert fresh is not None
        following = following + step.sigma * fresh
    return following, x0


@torch.no_grad()
def generate(
    unet: Denoiser, x: Tensor, plan: Sequence[ReverseStep], shift: Shift | None, fresh: Callable[[int], Tensor]
) -> Tensor:
    """Walk ``plan`` from noise to pictures, (B, 3, H, W), not clamped.

    Args:
        shift: none reconstructs.
        fresh: (B, 3, H, W) standard normal noise of a timestep; asked only where it counts.
    """
    for step in plan:
        if step.edited and shift is not None:
            plain, shifted = noise_pair(unet, x, step.timestep, shift)
        else:
            plain = shifted = plain_noise(unet, x, step.timestep)
        x, _ = update(x, plain, shifted, step, fresh(step.timestep) if step.sigma else None)
    return x


class CombinedShift(nn.Module):
    """``origin * h + sum of coefficient * block(h, embedding)`` (equation 8 and its sum over attributes).

    A :class:`~methods.asyrp.recorded_shift.RecordedShift` adds what it holds of the timestep, whatever h is.
    """

    def __init__(self, blocks: Sequence[nn.Module], coefficients: Sequence[float], origin: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.coefficients = tuple(coefficients)
        self.origin = origin

    def forward(self, features: Tensor, embedding: Tensor, timestep: int | None = None) -> Tensor:
        """(B, C, h, w) and (B, E) -> (B, C, h, w); blocks are small and stay in float32.

        ``timestep`` is what recorded shifts go by.
        """
        precise, embedding = features.float(), embedding.float()
        shifted = precise * self.origin
        for block, coefficient in zip(self.blocks, self.coefficients, strict=True):
            if isinstance(block, RecordedShift):
                assert timestep is not None
                shifted = shifted + coefficient * block.at(timestep)
            else:
                shifted = shifted + coefficient * block(precise, embedding)
        return shifted.to(features.dtype)


def _timesteps(x: Tensor, timestep: int) -> Tensor:
    return torch.full((x.shape[0],), float(timestep), device=x.device)
