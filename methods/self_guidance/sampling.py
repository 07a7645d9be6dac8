"""Sampling under self-guidance (equation 3 of arXiv 2306.00986), for a batch of samples with terms of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from methods.nn.attention_capture import Reading, map_size, read
from methods.nn.ddim import DDIMStep, add_noise, ddim_step, ddpm_step
from methods.nn.stable_diffusion import StableDiffusion
from methods.self_guidance.energy import Distance, Formulas, Observation, Term, energy
from methods.self_guidance.properties import resized

# float16 gradients of attention maps lie below the format's smallest numbers; the notebook scales by 1000
_HALF_SCALE = 1024.0


@dataclass(frozen=True)
class Watch:
    """What is read of the UNet, and how the gradient is used.

    Attributes:
        layers: cross-attention layers whose maps are used; appearance uses the last one.
        feature: the block whose output is what appearance compares.
        formulas: the paper's formulas, or the notebook's.
        distance: see :func:`methods.self_guidance.energy.energy`.
        resolution: side that all maps are resized to; ``None`` keeps each at its own. The notebook resizes.
        strength: factor on the gradient.
        guided: the steps that are guided.
    """

    layers: tuple[str, ...]
    feature: str
    formulas: Formulas = "paper"
    distance: Distance = "l1"
    resolution: int | None = None
    strength: float = 1000.0
    guided: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Prompt:
    """Embeddings (B, 77, D) that a run is sampled under; without ``negative`` there is no classifier-free guidance.

    ``pooled`` and ``negative_pooled``, (B, P), are what SDXL takes beside them.
    """

    caption: Tensor
    negative: Tensor | None = None
    pooled: Tensor | None = None
    negative_pooled: Tensor | None = None


class Reference(NamedTuple):
    """A picture that lends its properties: where its inversion ended, (1, C, h, w), and its caption."""

    latents: Tensor
    prompt: Prompt


class Noised(NamedTuple):
    """A real picture as source without inversion: noised anew to the level of each step.

    Attributes:
        picture: (B, C, h, w) its latents.
        noise: (B, steps, C, h, w) standard normal.
    """

    picture: Tensor
    noise: Tensor


class GuidedStep(NamedTuple):
    """What one step gave, all float32.

    Attributes:
        latents: (B, C, h, w) after the step.
        source: (B, C, h, w), the unguided run after the step; stands still once nobody needs it.
        loss: (B,) weighted energy before the step; ``None`` at steps without guidance.
        gradient: (B, C, h, w) of the energy, likewise.
    """

    latents: Tensor
    source: Tensor
    loss: Tensor | None
    gradient: Tensor | None


def guided_sampling(
    model: StableDiffusion,
    start: Tensor,
    prompt: Prompt,
    steps: Sequence[DDIMStep],
    guidance_scale: float,
    terms: Sequence[Sequence[Term]],
    watch: Watch,
    source_start: Tensor | None = None,
    source_prompt: Prompt | None = None,
    references: Mapping[str, Reference] | None = None,
    drawn: Tensor | None = None,
    noised: Noised | None = None,
) -> Iterator[GuidedStep]:
    """Sample with ``eps = cfg(eps) + strength * sigma_t * gradient``, sigma_t = sqrt(1 - alpha_t) (1 in the notebook).

    The source, an unguided run beside the guided one, gives targets at the same step. While both are at the same
    latents the observed maps themselves are the targets: then an L1 energy that wants nothing changed has gradient
    zero, as it should, and not the sign of a rounding error.

    Args:
        start: (B, C, h, w) float32.
        terms: for each sample, the energies; what they cost is summed.
        source_start: where the source starts; ``start`` if not given.
        source_prompt: what the source is sampled under; ``prompt`` if not given.
        references: pictures that terms name.
        drawn: (B, steps, C, h, w) standard normal: the noise of each step of the ancestral (DDPM) sampler, shared by
            the source. ``None`` samples by DDIM.
        noised: real pictures that are the source in place of an unguided run.
    """
    latents, source = start, start if source_start is None else source_start
    source_prompt = prompt if source_prompt is None else source_prompt
    same_prompt = source_prompt is prompt
    same = source_start is None and noised is None
    lent = {name: reference.latents for name, reference in (references or {}).items()}
    needed = any(term.needs_source and term.reference is None for mine in terms for term in mine)
    last = max(watch.guided, default=-1)
    for number, step in enumerate(steps):
        if number > last or not any(terms):
            noise = _noise(model, latents, step, prompt, guidance_scale)
            latents = _next(latents, noise, step, drawn, number)
            yield GuidedStep(latents, source, None, None)
            continue
        if noised is not None:
            source = add_noise(noised.picture, noised.noise[:, number], step.alpha_from)
        guided = number in watch.guided
        lenders: dict[str, Observation] = {}
        for name, state in lent.items():
            reading, noise = _read(model, state, step, references[name].prompt, 1.0, watch)  # type: ignore[index]
            lenders[name] = _observe(reading, watch, state)
            lent[name] = ddim_step(state, noise, step.alpha_from, step.alpha_to)
        loss = gradient = None
        theirs: Observation | None = None
        source_noise: Tensor | None = None
        if needed and not (same and same_prompt):
            reading, source_noise = _read(model, source, step, source_prompt, guidance_scale, watch)
            theirs = None if same else _observe(reading, watch, source)
        if guided:
            reading, loss, gradient = _gradient(model, latents, step, prompt, terms, watch, theirs, lenders)
            noise = _guided(model, latents, step, prompt, guidance_scale, reading)
        else:
            noise = _noise(model, latents, step, prompt, guidance_scale)
        if same and same_prompt:
            source_noise = noise
        if source_noise is not None and noised is None:
            source = _next(source, source_noise, step, drawn, number)
        if gradient is not None:
            sigma = math.sqrt(1.0 - step.alpha_from) if watch.formulas == "paper" else 1.0
            noise = noise + watch.strength * sigma * gradient
        latents = _next(latents, noise, step, drawn, number)
        same = same and same_prompt and (gradient is None or not bool(gradient.any()))
        yield GuidedStep(latents, source, loss, gradient)


def _next(x: Tensor, noise: Tensor, step: DDIMStep, drawn: Tensor | None, number: int) -> Tensor:
    if drawn is None:
        return ddim_step(x, noise, step.alpha_from, step.alpha_to)
    return ddpm_step(x, noise, step.alpha_from, step.alpha_to, drawn[:, number])


def _noise(model: StableDiffusion, latents: Tensor, step: DDIMStep, prompt: Prompt, scale: float) -> Tensor:
    if prompt.negative is None:
        return model.noise(latents, step.timestep, prompt.caption, prompt.pooled)
    doubled, embeddings = latents.repeat(2, 1, 1, 1), torch.cat([prompt.negative, prompt.caption])
    pooled = None
    if prompt.pooled is not None and prompt.negative_pooled is not None:
        pooled = torch.cat([prompt.negative_pooled, prompt.pooled])
    unconditional, conditional = model.noise(doubled, step.timestep, embeddings, pooled).chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _guided(
    model: StableDiffusion, latents: Tensor, step: DDIMStep, prompt: Prompt, scale: float, reading: Reading
) -> Tensor:
    """Noise of latents whose caption half has just been read; only the negative half is computed."""
    assert reading.output is not None
    conditional = model.as_noise(latents, reading.output.detach(), step.timestep)
    if prompt.negative is None:
        return conditional
    unconditional = model.noise(latents, step.timestep, prompt.negative, prompt.negative_pooled)
    return unconditional + scale * (conditional - unconditional)


def _read(
    model: StableDiffusion, latents: Tensor, step: DDIMStep, prompt: Prompt, scale: float, watch: Watch
) -> tuple[Reading, Tensor]:
    with torch.no_grad():
        reading = _call(model, latents, step, prompt, watch)
        return reading, _guided(model, latents, step, prompt, scale, reading)


def _call(model: StableDiffusion, latents: Tensor, step: DDIMStep, prompt: Prompt, watch: Watch) -> Reading:
    return read(
        model.unet,
        latents.to(model.dtype),
        step.timestep,
        prompt.caption.to(model.dtype),
        watch.layers,
        features=[watch.feature],
        added=model.added(latents, prompt.pooled),
    )


def _observe(reading: Reading, watch: Watch, latents: Tensor) -> Observation:
    height, width = latents.shape[2:]
    maps = []
    for layer in watch.layers:
        averaged = reading.maps[layer].mean(1)
        square = averaged.unflatten(1, map_size(averaged.shape[1], height, width))
        maps.append(square if watch.resolution is None else resized(square, watch.resolution, watch.resolution))
    return Observation(tuple(maps), reading.features[watch.feature].float())


def _gradient(
    model: StableDiffusion,
    latents: Tensor,
    step: DDIMStep,
    prompt: Prompt,
    terms: Sequence[Sequence[Term]],
    watch: Watch,
    source: Observation | None,
    references: Mapping[str, Observation],
) -> tuple[Reading, Tensor, Tensor]:
    """The reading with output, the weighted energy (B,), and its gradient; summed over samples, never averaged."""
    scale = _HALF_SCALE if model.dtype == torch.float16 else 1.0
    groups: dict[tuple[Term, ...], list[int]] = {}
    for row, mine in enumerate(terms):
        groups.setdefault(tuple(mine), []).append(row)
    with torch.enable_grad():
        x = latents.detach().clone().requires_grad_()
        reading = _call(model, x, step, prompt, watch)
        seen = _observe(reading, watch, latents)
        loss = torch.zeros(len(latents), device=latents.device)
        targets = seen.detached() if source is None else source
        for mine, rows in groups.items():
            some, wanted = seen.rows(rows), targets.rows(rows)
            for term in mine:
                theirs = wanted if term.reference is None else references[term.reference]
                share = term.weight * energy(term, some, theirs, watch.formulas, watch.distance)
                loss = loss.index_add(0, torch.tensor(rows, device=loss.device), share)
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(scale * loss.sum(), x)
        else:
            gradient = torch.zeros_like(x)
    return reading, loss.detach(), gradient.float() / scale
