"""DiffuseIT's guided denoising (algorithm 1), many pictures at once, each at its own place in the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from methods.errors import BadSample
from methods.nn.gaussian_diffusion import GaussianDiffusion, at

Noise = Callable[[str], Tensor]
"""Standard normal noise (B, 3, S, S) of all samples by stream; the same stream gives the same noise."""

Network = Callable[..., Tensor]
"""(n, 3, S, S) and (n,) original timesteps -> (n, 6, S, S): noise, and where the variance lies.

A class-conditional one takes ``labels``, (n,) int64, too.
"""

Labels = Callable[[Tensor, Tensor], Tensor]
"""(n,) samples and (n,) numbers of their steps -> (n,) int64 classes."""


class Guide(Protocol):
    """See :class:`methods.diffuseit.guidance.Guidance`."""

    def __call__(
        self, x: Tensor, clean: Tensor, index: Tensor, samples: Tensor, calls: Tensor
    ) -> tuple[Tensor, Tensor]: ...


def guided_index(diffusion: GaussianDiffusion) -> Tensor:
    """(N,) the index at which the official code evaluates its losses: ``floor(timestep * N / 1000)`` in float32.

    For most N it is the index itself; for 70, 90, 120, 150 or 300 it is one less at some.
    """
    timesteps = torch.tensor(diffusion.timesteps, dtype=torch.float32)
    return (timesteps * (len(diffusion) / 1000)).long()


class Sampler:
    """Denoises from a start index, with resampling there, guidance at every step, and restarts.

    Args:
        network: noise and variance.
        diffusion: the respaced process.
        start: first index, 1 or more.
        resampling: passes at the first index.
        ddim: deterministic steps, without resampling.
        max_restarts: restarts after which a sample is rejected.
        watch: called with (samples, index, x, clean) after every step; for tests.
        labels: the classes that a class-conditional network denoises towards; none for an unconditional one.
        guide_last: call the guide at index 0 too, where it changes no result, for the state that it keeps.
    """

    def __init__(
        self,
        network: Network,
        diffusion: GaussianDiffusion,
        start: int,
        resampling: int = 10,
        ddim: bool = False,
        max_restarts: int = 10,
        watch: Callable[[Tensor, Tensor, Tensor, Tensor], None] = lambda samples, index, x, clean: None,
        labels: Labels | None = None,
        guide_last: bool = False,
    ) -> None:
        self.labels, self.guide_last = labels, guide_last
        self.network, self.diffusion, self.start = network, diffusion, start
        self.resampling = 1 if ddim else resampling
        self.ddim, self.max_restarts, self.watch = ddim, max_restarts, watch
        self.guided = guided_index(diffusion)

    def __call__(self, images: Tensor, guide: Guide, noise: Noise) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> the last predicted pictures, not clamped.

        Needs gradients: not to be called in inference mode. Samples do not see each other.

        Raises:
            BadSample: a sample restarted more than ``max_restarts`` times.
        """
        diffusion, device = self.diffusion, images.device
        x = diffusion.q_sample(images, noise("noise.start"), self.start)
        output = torch.empty_like(images)
        index = torch.full((len(images),), self.start, device=device)
        passes, steps, renoised, restarts = (torch.zeros_like(index) for _ in range(4))
        samples = torch.arange(len(images), device=device)
        while len(samples):
            following, clean, again = self._step(x[samples], index[samples], samples, steps[samples], guide, noise)
            self.watch(samples, index[samples], following, clean)
            here = index[samples]
            steps[samples] += 1
            x[samples] = following
            output[samples] = clean
            again = again & (here < self.start) & (here > 0)
            repeating = (here == self.start) & (passes[samples] < self.resampling - 1)
            if again.any():
                back = samples[again]
                restarts[back] += 1
                if int(restarts.max()) > self.max_restarts:
                    message = f"left the range of pictures in each of {self.max_restarts + 1} attempts"
                    raise BadSample("restarts", f"{message}: other params, or more max_restarts")
                fresh = _rows(noise, "noise.restart_{}", restarts[back], back)
                x[back] = diffusion.q_sample(images[back], fresh, self.start)
                index[back], passes[back] = self.start, 0
            if repeating.any():
                once_more = samples[repeating]
                beta = float(diffusion.betas[self.start - 1])
                fresh = _rows(noise, "noise.renoise_{:02d}", renoised[once_more], once_more)
                x[once_more] = float(np.sqrt(1 - beta)) * x[once_more] + float(np.sqrt(beta)) * fresh
                passes[once_more] += 1
                renoised[once_more] += 1
            onward = ~again & ~repeating
            index[samples[onward]] -= 1
            samples = samples[~onward | (here > 0)]
        return output

    def _step(
        self, x: Tensor, index: Tensor, samples: Tensor, steps: Tensor, guide: Guide, noise: Noise
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x of the index before, the predicted picture, and who should start again."""
        diffusion = self.diffusion
        # without ddim the result is the last prediction before its guidance: no gradient is needed for it
        guiding = self.ddim or self.guide_last or bool((index > 0).any())
        # one class per step, as in the release: for its guidance too
        labels = None if self.labels is None else self.labels(samples, steps)
        with torch.set_grad_enabled(guiding):
            x = x.detach().requires_grad_(guiding)
            predicted, interpolation = self._evaluate(x, index, labels)
            clean = diffusion.predict_clean(x, predicted, index)
        gradient, again = torch.zeros_like(x), torch.zeros_like(index, dtype=torch.bool)
        if guiding:
            elsewhere = self.guided.to(index.device)[index]
            compared = clean
            if not torch.equal(elsewhere, index):
                compared = diffusion.predict_clean(x, self._evaluate(x, elsewhere, labels)[0], elsewhere)
            gradient, again = guide(x, compared, elsewhere, samples, steps)
        x, clean, predicted = x.detach(), clean.detach(), predicted.detach()
        if self.ddim:
            moved = predicted - at(np.sqrt(1 - diffusion.alphas_cumprod), index, x) * gradient
            clean = diffusion.predict_clean(x, moved, index)
            before = diffusion.alphas_cumprod_prev
            following = at(np.sqrt(before), index, x) * clean + at(np.sqrt(1 - before), index, x) * moved
            return following, clean, again
        log_variance = diffusion.learned_log_variance(interpolation.detach(), index)
        mean = diffusion.posterior_mean(clean, x, index) + log_variance.exp() * gradient
        fresh = _rows(noise, "noise.step_{:02d}", steps, samples)
        noisy = (index > 0).view(-1, 1, 1, 1)
        return mean + noisy * (0.5 * log_variance).exp() * fresh, clean, again

    def _evaluate(self, x: Tensor, index: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        timesteps = self.diffusion.original(index, len(x), x.device)
        answer = self.network(x, timesteps) if labels is None else self.network(x, timesteps, labels=labels)
        predicted, interpolation = answer.chunk(2, dim=1)
        return predicted, interpolation


def _rows(noise: Noise, stream: str, counts: Tensor, samples: Tensor) -> Tensor:
    """Noise of ``samples``, each from the stream of its own count: samples that started again are behind the others."""
    wanted = counts.tolist()
    streams = {count: noise(stream.format(count)) for count in sorted(set(wanted))}
    return torch.stack([streams[count][sample] for count, sample in zip(wanted, samples.tolist(), strict=True)])
