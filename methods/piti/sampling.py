"""Sampling as released: ancestral steps with clipped pictures and guidance, then the upsampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.piti.networks import EncodedCondition, PITIModel

Guidance = Literal["plain", "normalised"]
Noise = Callable[[str], Tensor]
"""Standard normal noise in the shape of the sample by stream name: ``start``, then ``step.0`` (the first) and on."""

START_SCALE = 0.997
"""The upsampler's initial noise is this much weaker than a unit normal."""


@dataclass(frozen=True)
class StepResult:
    """What one step has made, (B, 3, H, W) each: the next sample and the clipped guess at the picture."""

    sample: Tensor
    clean: Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float, guidance: Guidance) -> Tensor:
    """Classifier-free guidance of noise (B, 3, H, W).

    ``plain`` is what was released; ``normalised`` gives the result the mean and the standard deviation, over an image's
    channels and pixels, of the conditional noise (paper, section 3.4, equation 8).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if guidance == "plain":
        return guided
    axes = (1, 2, 3)
    spread, mean = torch.std_mean(conditional, axes, correction=0, keepdim=True)
    found_spread, found_mean = torch.std_mean(guided, axes, correction=0, keepdim=True)
    return (guided - found_mean) / found_spread * spread + mean


def sample_base(
    model: PITIModel,
    diffusion: GaussianDiffusion,
    condition: EncodedCondition,
    unconditional: EncodedCondition | None,
    noise: Noise,
    scale: float = 1.3,
    guidance: Guidance = "plain",
    watch: Callable[[StepResult], None] | None = None,
) -> Tensor:
    """(B, 3, side, side) in [-1, 1] from the base model.

    Args:
        condition: of the batch, encoded once.
        unconditional: the encoded all-ones picture, batch 1 (a constant of the weights); not needed at ``scale`` 1.
        noise: by stream.
        scale: 1 is no guidance, and spares half of the work.
        watch: called after each step.
    """
    batch = len(condition)
    if scale == 1 or unconditional is None:
        return _ancestral(partial(_conditional, model, condition), diffusion, noise("start"), noise, watch)
    both = EncodedCondition.join([condition, unconditional.expand(batch)])

    def denoise(sample: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        answer, interpolation = model.denoise(torch.cat([sample, sample]), torch.cat([timesteps, timesteps]), both)
        # the variance is the conditional one: only the noise is guided
        return guide(answer[:batch], answer[batch:], scale, guidance), interpolation[:batch]

    return _ancestral(denoise, diffusion, noise("start"), noise, watch)


def sample_upsampler(
    model: PITIModel,
    diffusion: GaussianDiffusion,
    condition: EncodedCondition,
    small: Tensor,
    noise: Noise,
    watch: Callable[[StepResult], None] | None = None,
) -> Tensor:
    """(B, 3, side, side) in [-1, 1] from ``small`` (B, 3, h, w), 8-bit levels in [-1, 1] (:func:`quantise`)."""
    start = noise("start") * START_SCALE
    enlarged = F.interpolate(small, start.shape[-2:], mode="bilinear", align_corners=False)

    def denoise(sample: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        return model.denoise(torch.cat([sample, enlarged], dim=1), timesteps, condition)

    return _ancestral(denoise, diffusion, start, noise, watch)


def quantise(pictures: Tensor) -> Tensor:
    """To the 8-bit levels that the upsampler was trained on, truncating as the release does."""
    return torch.floor(127.5 * (pictures.clamp(-1, 1) + 1)) / 127.5 - 1


def _conditional(
    model: PITIModel, condition: EncodedCondition, sample: Tensor, timesteps: Tensor
) -> tuple[Tensor, Tensor]:
    return model.denoise(sample, timesteps, condition)


def _ancestral(
    denoise: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    diffusion: GaussianDiffusion,
    sample: Tensor,
    noise: Noise,
    watch: Callable[[StepResult], None] | None,
) -> Tensor:
    last = len(diffusion) - 1
    for step, index in enumerate(range(last, -1, -1)):
        answer, interpolation = denoise(sample, diffusion.original(index, len(sample), sample.device))
        clean = diffusion.predict_clean(sample, answer, index).clamp(-1, 1)
        # at index 0 the mean is the clipped picture itself, and no noise is added
        mean = diffusion.posterior_mean(clean, sample, index)
        if index:
            spread = torch.exp(0.5 * diffusion.learned_log_variance(interpolation, index))
            sample = mean + spread * noise(f"step.{step}")
        else:
            sample = mean
        if watch is not None:
            watch(StepResult(sample, clean))
    return sample
