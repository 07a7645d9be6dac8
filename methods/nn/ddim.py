"""DDIM as pure functions: plans of steps from a scheduler file, and the update they share.

Nothing here knows a network. A plan is a list of :class:`DDIMStep`; who samples walks it, asks a network for the noise
and calls :func:`ddim_step`. Walking towards more noise is inversion, towards less is sampling: the formula is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from methods.nn.noise_schedule import configured_alphas


class DDIMStep(NamedTuple):
    """One DDIM update.

    Attributes:
        timestep: the network's timestep input.
        alpha_from: cumulative alpha of the state before the step.
        alpha_to: cumulative alpha of the state after it.
    """

    timestep: int
    alpha_from: float
    alpha_to: float


def leading_timesteps(train_steps: int, steps: int, offset: int = 0) -> list[int]:
    """``i * floor(train_steps / steps) + offset`` for i = 0 .. steps - 1, ascending (diffusers' spacing "leading").

    Raises:
        ValueError: no steps, or more than the noise schedule has.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps, expected at least 1")
    stride = train_steps // steps
    if stride < 1 or (steps - 1) * stride + offset >= train_steps:
        raise ValueError(f"{steps} steps, expected at most {train_steps - offset}")
    return [i * stride + offset for i in range(steps)]


def plan(timesteps: Sequence[int], alphas: Tensor, last: float) -> list[DDIMStep]:
    """Steps through ``timesteps`` in the given order; the last one goes to cumulative alpha ``last``.

    Descending timesteps sample (``last`` is 1 or ``alphas[0]``); ascending ones invert.
    """
    levels = [float(alphas[t]) for t in timesteps]
    return [DDIMStep(t, here, there) for t, here, there in zip(timesteps, levels, [*levels[1:], last], strict=True)]


def sampling_plan(config: Mapping[str, Any], steps: int) -> list[DDIMStep]:
    """The steps of diffusers' DDIMScheduler for a scheduler configuration of Stable Diffusion 1.x, most noise first.

    The step from t goes to the level of ``t - floor(T / steps)``; below zero, to 1 if ``set_alpha_to_one``, else to the
    schedule's first level. ``set_alpha_to_one`` counts as false when the file leaves it out, as in the official code.

    Raises:
        ValueError: as :func:`~methods.nn.noise_schedule.configured_alphas` and :func:`leading_timesteps`.
    """
    alphas = configured_alphas(config)
    timesteps = leading_timesteps(len(alphas), steps, int(config.get("steps_offset", 0)))
    stride = len(alphas) // steps
    final = 1.0 if config.get("set_alpha_to_one", False) else float(alphas[0])
    return [
        DDIMStep(t, float(alphas[t]), float(alphas[t - stride]) if t >= stride else final) for t in reversed(timesteps)
    ]


def ancestral_plan(config: Mapping[str, Any], steps: int) -> list[DDIMStep]:
    """The steps of diffusers' DDPMScheduler for the same configuration: those of DDIM, but the last goes to 1.

    Raises:
        ValueError: as :func:`sampling_plan`.
    """
    *before, last = sampling_plan(config, steps)
    return [*before, last._replace(alpha_to=1.0)]


def inversion_of(steps: Sequence[DDIMStep]) -> list[DDIMStep]:
    """The same steps walked backwards, least noise first: what undoes them where the predicted noise hardly changes."""
    return [DDIMStep(step.timestep, step.alpha_to, step.alpha_from) for step in reversed(steps)]


def ddim_step(x: Tensor, noise: Tensor, alpha_from: float, alpha_to: float) -> Tensor:
    """The deterministic update (eta = 0; equation 12 of arXiv 2010.02502) between any two noise levels.

    ``sqrt(alpha_to) * x0 + sqrt(1 - alpha_to) * noise`` with x0 of :func:`predicted_x0` at ``alpha_from``.

    Args:
        x: state at ``alpha_from``, any shape.
        noise: predicted noise, same shape.
    """
    x0 = predicted_x0(x, noise, alpha_from)
    return math.sqrt(alpha_to) * x0 + math.sqrt(1.0 - alpha_to) * noise


def ddpm_step(x: Tensor, noise: Tensor, alpha_from: float, alpha_to: float, drawn: Tensor) -> Tensor:
    """The ancestral update: a draw from the posterior of equation 7 of arXiv 2006.11239, between any two noise levels.

    Its variance is ``(1 - alpha_to) / (1 - alpha_from) * (1 - alpha_from / alpha_to)``; equal to DDIM with eta = 1.

    Args:
        drawn: standard normal, of the shape of ``x``; unused where the step ends at ``alpha_to`` = 1.
    """
    variance = (1.0 - alpha_to) / (1.0 - alpha_from) * (1.0 - alpha_from / alpha_to)
    x0 = predicted_x0(x, noise, alpha_from)
    mean = math.sqrt(alpha_to) * x0 + math.sqrt(max(0.0, 1.0 - alpha_to - variance)) * noise
    return mean + math.sqrt(variance) * drawn if variance > 0 else mean


def predicted_x0(x: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """``(x - sqrt(1 - alpha) * noise) / sqrt(alpha)``."""
    return (x - math.sqrt(1.0 - alpha) * noise) / math.sqrt(alpha)


def add_noise(x0: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """``sqrt(alpha) * x0 + sqrt(1 - alpha) * noise``: the forward process to cumulative alpha ``alpha``."""
    return math.sqrt(alpha) * x0 + math.sqrt(1.0 - alpha) * noise


def noise_from_velocity(x: Tensor, velocity: Tensor, alpha: float) -> Tensor:
    """Noise of a network that predicts v (arXiv 2202.00512): ``sqrt(alpha) * v + sqrt(1 - alpha) * x``."""
    return math.sqrt(alpha) * velocity + math.sqrt(1.0 - alpha) * x
