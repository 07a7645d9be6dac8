"""DDIM inversion with the noise kept white (section 3.1 of arXiv 2302.03027), for a batch of images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from methods.nn.ddim import DDIMStep, ddim_step, leading_timesteps
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.regularise import Regularisation, regularise


def inversion_plan(alphas: Tensor, steps: int, offset: int = 1) -> list[DDIMStep]:
    """The release's inversion: of ``steps`` timesteps all but the first and the last, ascending.

    At timestep t the state counts as one at level ``t - offset`` and goes to ``t - offset + stride``: one below what
    the sampler says of the same timestep, which is why it is not :func:`methods.nn.ddim.plan`.

    Args:
        alphas: (T,) cumulative alphas.
        steps: requested steps, the same number as in the edit; two fewer are run.
        offset: the scheduler's ``steps_offset``.

    Raises:
        ValueError: fewer than 3 steps or more than the schedule has.
    """
    if steps < 3:
        raise ValueError(f"{steps} steps, expected at least 3")
    stride = len(alphas) // steps
    timesteps = leading_timesteps(len(alphas), steps, offset)[1:-1]
    return [DDIMStep(t, float(alphas[t - offset]), float(alphas[t - offset + stride])) for t in timesteps]


def invert(
    model: StableDiffusion,
    latents: Tensor,
    embeddings: Tensor,
    steps: list[DDIMStep],
    regularisation: Regularisation,
    shifts: Tensor,
    negative: Tensor | None = None,
    guidance_scale: float = 1.0,
) -> Iterator[Tensor]:
    """The latents after each step; the last is where an edit starts.

    Args:
        latents: (B, C, h, w) float32, scaled latents of the images.
        embeddings: (B, 77, D), the images' captions.
        steps: of :func:`inversion_plan`.
        shifts: (B, steps, rounds, shifts, C, levels) int64, the random shifts; unused without regularisation.
        negative: (B, 77, D) embeddings of the negative prompts, for classifier-free guidance by ``guidance_scale``; the
            guided noise is what is regularised. ``None``: no guidance.
    """
    for number, step in enumerate(steps):
        with torch.no_grad():
            if negative is None:
                noise = model.noise(latents, step.timestep, embeddings)
            else:
                doubled, both = latents.repeat(2, 1, 1, 1), torch.cat([negative, embeddings])
                unconditional, conditional = model.noise(doubled, step.timestep, both).chunk(2)
                noise = unconditional + guidance_scale * (conditional - unconditional)
            if regularisation.active:
                noise = regularise(noise, regularisation, shifts[:, number])
            latents = ddim_step(latents, noise, step.alpha_from, step.alpha_to)
        yield latents
