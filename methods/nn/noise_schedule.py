"""Noise schedules: how much noise each diffusion timestep adds (beta), and what is left of the signal (alpha-bar).

Betas are float64. Published code multiplies alphas in float32 or in float64, and the results differ in the last bits:
:func:`alphas_cumprod` is the float32 product that diffusers and DDPM's releases use; guided diffusion and GLIDE take
``np.cumprod`` of the float64 betas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def linear_betas(steps: int = 1000) -> np.ndarray:
    """(steps,) from 1e-4 to 0.02 for 1000 steps, scaled so that fewer steps add as much noise (arXiv 2102.09672)."""
    scale = 1000 / steps
    return np.linspace(scale * 1e-4, scale * 0.02, steps, dtype=np.float64)


def cosine_betas(steps: int = 1000) -> np.ndarray:
    """(steps,) of alpha_bar(t) = cos^2((t + 0.008) / 1.008 * pi / 2), capped at 0.999 ("squaredcos_cap_v2")."""
    alpha_bar = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {"linear": linear_betas, "squaredcos_cap_v2": cosine_betas}
"""Schedules that depend on the number of steps alone, by the names of diffusers."""


def alphas_cumprod(betas: Tensor | np.ndarray) -> Tensor:
    """Alpha-bar, (T,) float32: cumulative products of 1 - beta, all in float32."""
    return torch.cumprod(1.0 - torch.as_tensor(betas).float(), dim=0)


def configured_alphas(config: Mapping[str, Any]) -> Tensor:
    """Alpha-bar, (T,) float32, of a diffusers scheduler configuration.

    Raises:
        ValueError: a beta schedule that is not known.
    """
    steps = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        return alphas_cumprod(torch.tensor(config["trained_betas"], dtype=torch.float32))
    if schedule == "linear":
        return alphas_cumprod(torch.linspace(start, end, steps, dtype=torch.float32))
    if schedule == "scaled_linear":
        return alphas_cumprod(torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2)
    if schedule in SCHEDULES:
        return alphas_cumprod(SCHEDULES[schedule](steps))
    raise ValueError(f"beta_schedule {schedule!r}, expected linear, scaled_linear or squaredcos_cap_v2")
