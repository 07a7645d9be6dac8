"""Gaussian diffusion with a learned variance, on all steps or on a few (Nichol & Dhariwal, arXiv 2102.09672).

Tables are float64 and indices count kept steps, 0 the cleanest. The network is asked with original timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from methods.nn.noise_schedule import SCHEDULES

FAST27 = "fast27"
"""GLIDE's hand-made choice of 27 steps for its upsampler."""


def respace(respacing: str, steps: int = 1000) -> tuple[int, ...]:
    """The original timesteps that a respacing string keeps, rising.

    ``"250"`` spreads 250 steps evenly, ``"10,10,3,2,2"`` gives each of five equal sections its own count, ``"ddim25"``
    takes every 40th step, ``"fast27"`` is GLIDE's choice for 1000 steps.

    Raises:
        ValueError: not such a string, or more steps than there are.
    """
    if respacing == FAST27:
        if steps != 1000:
            raise ValueError(f"respacing '{FAST27}' is made for 1000 steps, not {steps}")
        # the last step is moved from 999 to 997
        return (*respace("10,10,3,2,2")[:-1], 997)
    text = respacing.removeprefix("ddim")
    counts = [int(part) if part.strip().isascii() and part.strip().isdigit() else 0 for part in text.split(",")]
    strided = text != respacing
    if min(counts) < 1 or (strided and len(counts) > 1):
        raise ValueError(f"respacing '{respacing}': expected N, N,N,..., ddimN or {FAST27}")
    if strided:
        for stride in range(1, steps + 1):
            if len(range(0, steps, stride)) == counts[0]:
                return tuple(range(0, steps, stride))
        raise ValueError(f"respacing '{respacing}': no whole stride through {steps} steps gives {counts[0]} of them")
    kept: set[int] = set()
    start = 0
    for section, count in enumerate(counts):
        size = steps // len(counts) + (section < steps % len(counts))
        if count > size:
            raise ValueError(f"respacing '{respacing}': {count} steps do not fit into a section of {size}")
        stride, position = (size - 1) / max(count - 1, 1), 0.0
        for _ in range(count):
            # round() to even and accumulation in floating point are part of the published numbers
            kept.add(start + round(position))
            position += stride
        start += size
    return tuple(sorted(kept))


@dataclass(frozen=True)
class GaussianDiffusion:
    """The tables of a (respaced) diffusion process and its steps.

    Methods take ``index`` as a Python int for a whole batch, or as a (B,) tensor.

    Attributes:
        timesteps: original timestep of each kept step.
        betas, alphas_cumprod, alphas_cumprod_prev: (N,) float64; ``alphas_cumprod_prev[0]`` is 1.
        posterior_variance, posterior_log_variance_clipped: of q(x[i-1] | x[i], x0); the logarithm's first entry, whose
            variance is 0, repeats the second.
        posterior_mean_coef1, posterior_mean_coef2: weights of x0 and x[i] in that posterior's mean.
    """

    timesteps: tuple[int, ...]
    betas: np.ndarray
    alphas_cumprod: np.ndarray
    alphas_cumprod_prev: np.ndarray
    posterior_variance: np.ndarray
    posterior_log_variance_clipped: np.ndarray
    posterior_mean_coef1: np.ndarray
    posterior_mean_coef2: np.ndarray

    @classmethod
    def make(cls, schedule: str = "linear", respacing: str | None = None, steps: int = 1000) -> GaussianDiffusion:
        """Of a schedule by name (``linear``, ``squaredcos_cap_v2``), on the steps ``respacing`` keeps or on all.

        Raises:
            ValueError: as :func:`respace`.
        """
        alphas_cumprod = np.cumprod(1.0 - SCHEDULES[schedule](steps))
        timesteps = tuple(range(steps)) if respacing is None else respace(respacing, steps)
        if respacing is None:
            betas = SCHEDULES[schedule](steps)
        else:
            kept = alphas_cumprod[list(timesteps)]
            betas = 1 - kept / np.append(1.0, kept[:-1])
        return cls._of(timesteps, betas)

    @classmethod
    def _of(cls, timesteps: tuple[int, ...], betas: np.ndarray) -> GaussianDiffusion:
        alphas_cumprod = np.cumprod(1.0 - betas)
        before = np.append(1.0, alphas_cumprod[:-1])
        variance = betas * (1.0 - before) / (1.0 - alphas_cumprod)
        clipped = np.append(variance[1:2] if len(betas) > 1 else betas, variance[1:])
        return cls(
            timesteps=timesteps,
            betas=betas,
            alphas_cumprod=alphas_cumprod,
            alphas_cumprod_prev=before,
            posterior_variance=variance,
            posterior_log_variance_clipped=np.log(clipped),
            posterior_mean_coef1=betas * np.sqrt(before) / (1.0 - alphas_cumprod),
            posterior_mean_coef2=(1.0 - before) * np.sqrt(1.0 - betas) / (1.0 - alphas_cumprod),
        )

    def __len__(self) -> int:
        return len(self.timesteps)

    def original(self, index: int | Tensor, batch: int, device: torch.device) -> Tensor:
        """(B,) float32 original timesteps, as the network wants them."""
        if isinstance(index, int):
            return torch.full((batch,), float(self.timesteps[index]), device=device)
        return torch.tensor(self.timesteps, device=index.device)[index].float()

    def q_sample(self, clean: Tensor, noise: Tensor, index: int | Tensor) -> Tensor:
        """x[i] = sqrt(abar) x0 + sqrt(1 - abar) noise."""
        kept, added = np.sqrt(self.alphas_cumprod), np.sqrt(1.0 - self.alphas_cumprod)
        return at(kept, index, clean) * clean + at(added, index, clean) * noise

    def predict_clean(self, noisy: Tensor, noise: Tensor, index: int | Tensor) -> Tensor:
        """x0 = sqrt(1 / abar) x[i] - sqrt(1 / abar - 1) noise, not clipped."""
        scale, share = np.sqrt(1.0 / self.alphas_cumprod), np.sqrt(1.0 / self.alphas_cumprod - 1)
        return at(scale, index, noisy) * noisy - at(share, index, noisy) * noise

    def posterior_mean(self, clean: Tensor, noisy: Tensor, index: int | Tensor) -> Tensor:
        """Mean of q(x[i-1] | x[i], x0)."""
        return at(self.posterior_mean_coef1, index, noisy) * clean + at(self.posterior_mean_coef2, index, noisy) * noisy

    def learned_log_variance(self, interpolation: Tensor, index: int | Tensor) -> Tensor:
        """Between the posterior's log variance (-1) and log beta (+1), by the network's last channels."""
        share = (interpolation + 1) / 2
        low = at(self.posterior_log_variance_clipped, index, interpolation)
        high = at(np.log(self.betas), index, interpolation)
        return share * high + (1 - share) * low


def at(table: np.ndarray, index: int | Tensor, like: Tensor) -> Tensor | float:
    """``table[index]`` in float32: a Python number for an int (no transfer), (B, 1, 1, ...) for a (B,) tensor."""
    if isinstance(index, int):
        return float(np.float32(table[index]))
    values = torch.from_numpy(table).to(index.device)[index].float()
    return values.view(-1, *[1] * (like.dim() - 1))
