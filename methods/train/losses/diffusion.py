"""The loss of diffusion models with a learned variance, and the choice of timesteps (arXiv 2102.09672)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed
from torch import Tensor

from methods.nn.gaussian_diffusion import GaussianDiffusion, at

_KEPT_LOSSES = 10
_UNIFORM_SHARE = 0.001


@dataclass(frozen=True)
class Terms:
    """Per-sample terms, (B,) each: squared error of the noise, and variational bound in bits a dimension."""

    mse: Tensor
    vb: Tensor

    @property
    def loss(self) -> Tensor:
        """Their sum: with 1000 steps the bound's weight is 1 ("rescaled MSE")."""
        return self.mse + self.vb


def hybrid_terms(
    diffusion: GaussianDiffusion,
    answer: tuple[Tensor, Tensor],
    clean: Tensor,
    noisy: Tensor,
    noise: Tensor,
    index: Tensor,
) -> Terms:
    """The two terms of L_hybrid (section 3.1); the bound teaches the variance alone.

    Args:
        answer: the network's noise and variance interpolation, (B, C, H, W) each.
        clean, noisy, noise: the pictures in [-1, 1], what the network saw, and what was added.
        index: (B,) steps of ``diffusion``.
    """
    predicted, interpolation = answer
    mse = _mean((noise - predicted).square())
    guess = diffusion.predict_clean(noisy, predicted.detach(), index)
    mean = diffusion.posterior_mean(guess, noisy, index)
    log_variance = diffusion.learned_log_variance(interpolation, index)
    true_mean = diffusion.posterior_mean(clean, noisy, index)
    true_log_variance = at(diffusion.posterior_log_variance_clipped, index, noisy)
    divergence = 0.5 * (
        -1.0
        + log_variance
        - true_log_variance
        + torch.exp(true_log_variance - log_variance)
        + (true_mean - mean).square() * torch.exp(-log_variance)
    )
    likelihood = _discretised_log_likelihood(clean, mean, 0.5 * log_variance)
    bits = torch.where(index == 0, -_mean(likelihood), _mean(divergence)) / math.log(2.0)
    return Terms(mse, bits)


def min_snr_weights(alphas_cumprod: Tensor, gamma: float | None) -> Tensor:
    """min(snr, gamma) / snr for losses of predicted noise, of the shape of ``alphas_cumprod`` (arXiv 2303.09556).

    Without ``gamma`` every timestep counts alike.
    """
    if gamma is None:
        return torch.ones_like(alphas_cumprod)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=gamma) / snr


class TimestepSampler(Protocol):
    """Chooses the timesteps to train on."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(count,) int64 steps and (count,) float32 weights of their losses, on the CPU."""
        ...

    def update(self, steps: Tensor, losses: Tensor) -> None:
        """Learn from what the last draw's losses were, (B,) each."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


class UniformSampler:
    """Every timestep equally often."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See :class:`TimestepSampler`."""
        return torch.randint(self.steps, (count,), generator=generator), torch.ones(count)

    def update(self, steps: Tensor, losses: Tensor) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class LossSecondMomentSampler:
    """Timesteps in proportion to the root of their mean squared loss (section 3.3), uniform until all are known.

    Workers of one run share their losses, so that all of them choose by the same numbers.
    """

    def __init__(self, steps: int) -> None:
        self.losses = torch.zeros(steps, _KEPT_LOSSES, dtype=torch.float64)
        self.counts = torch.zeros(steps, dtype=torch.int64)

    def shares(self) -> Tensor:
        """(steps,) float64 probabilities."""
        steps = len(self.counts)
        if not (self.counts == _KEPT_LOSSES).all():
            return torch.full((steps,), 1 / steps, dtype=torch.float64)
        moment = self.losses.square().mean(1).sqrt()
        return moment / moment.sum() * (1 - _UNIFORM_SHARE) + _UNIFORM_SHARE / steps

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See :class:`TimestepSampler`; the weights undo the uneven choice."""
        shares = self.shares()
        steps = torch.multinomial(shares, count, replacement=True, generator=generator)
        return steps, (1 / (len(shares) * shares[steps])).float()

    def update(self, steps: Tensor, losses: Tensor) -> None:
        """Remember the last ten losses of each timestep."""
        for step, loss in zip(*_of_all_workers(steps, losses), strict=True):
            if self.counts[step] == _KEPT_LOSSES:
                self.losses[step] = self.losses[step].roll(-1)
                self.losses[step, -1] = loss
            else:
                self.losses[step, self.counts[step]] = loss
                self.counts[step] += 1

    def state_dict(self) -> dict[str, Any]:
        """What has been seen."""
        return {"losses": self.losses.clone(), "counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.losses.copy_(state["losses"])
        self.counts.copy_(state["counts"])


def _of_all_workers(steps: Tensor, losses: Tensor) -> tuple[list[int], list[float]]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        mine = torch.stack([steps.double(), losses.detach().to(steps.device).double()])
        everyone = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(everyone, mine)
        steps, losses = torch.cat(everyone, dim=1)
    return steps.long().tolist(), losses.detach().cpu().tolist()


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _discretised_log_likelihood(pictures: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of 8-bit ``pictures`` in [-1, 1] under a Gaussian, integrated over each level's width."""
    centred, inverse = pictures - mean, torch.exp(-log_scale)
    above = _normal_cdf(inverse * (centred + 1.0 / 255.0))
    below = _normal_cdf(inverse * (centred - 1.0 / 255.0))
    log_above, log_not_below = above.clamp(min=1e-12).log(), (1.0 - below).clamp(min=1e-12).log()
    inside = (above - below).clamp(min=1e-12).log()
    return torch.where(pictures < -0.999, log_above, torch.where(pictures > 0.999, log_not_below, inside))


def _normal_cdf(values: Tensor) -> Tensor:
    # the tanh approximation is part of the published loss
    return 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (values + 0.044715 * values.pow(3))))
