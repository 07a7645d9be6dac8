"""The stochastic generator: every weight as a function of gamma (section 3.4 of arXiv 2403.12036)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.turbo.generator import OneStepGenerator
from methods.turbo.lora import lora_delta

_SKIP = re.compile(r"vae\.decoder\.skip_conv_\d+\.weight")
_CONV_IN = ("unet.conv_in.weight", "unet.conv_in.bias")


class BlendedGenerator:
    """A one-step generator whose weights are merged for the gamma of each call.

    With coefficient g: every LoRA acts with g; the UNet's first layer is ``(1 - g) * pretrained + g * trained``; the
    activations in the skip connections are multiplied by g, which for bias-free 1x1 convolutions is g on their
    weights, so that their LoRA acts with g twice. The latents are mixed with noise: ``u = g z + (1 - g) n``. At g = 1
    this is the deterministic model, at g = 0 SD-Turbo's text-to-image.

    A call never depends on the call before it: the weights are written anew whenever gamma differs.

    Args:
        generator: with base weights and without LoRA, the first layer the trained one, on its device.
        adapters: (A, B) by full module name (``unet.mid_block...``, ``vae.encoder...``), alpha / r multiplied into B.
        pretrained: weight and bias of the base model's first UNet layer.
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        adapters: Mapping[str, tuple[Tensor, Tensor]],
        pretrained: tuple[Tensor, Tensor],
    ) -> None:
        self.generator = generator
        device = next(generator.parameters()).device
        self.adapters = {f"{name}.weight": (a.to(device), b.to(device)) for name, (a, b) in adapters.items()}
        self.pretrained = dict(zip(_CONV_IN, (each.to(device) for each in pretrained), strict=True))
        self._weights = dict(generator.named_parameters())
        changing = [n for n in self._weights if n in self.adapters or n in self.pretrained or _SKIP.fullmatch(n)]
        # float32 whatever the networks' dtype: rounding once, after the sum
        self._own = {name: self._weights[name].detach().float().clone() for name in changing}
        self._gamma: float | None = None

    @torch.no_grad()
    def _merge(self, gamma: float) -> None:
        if gamma == self._gamma:
            return
        for name, own in self._own.items():
            value = own
            if name in self.pretrained:
                value = torch.lerp(self.pretrained[name].float(), own, gamma)
            elif name in self.adapters:
                value = own + lora_delta(*self.adapters[name], gamma)
            if _SKIP.fullmatch(name):
                value = gamma * value
            self._weights[name].copy_(value)
        self._gamma = gamma

    def __call__(
        self, x: Tensor, encoder_hidden_states: Tensor, noise: Tensor, noise_map: Tensor, gamma: float
    ) -> Tensor:
        """Translate a batch with one gamma.

        Args:
            x: (B, 3, H, W) in [0, 1].
            encoder_hidden_states: (1 or B, L, D).
            noise: (B, C, h, w) float32, the draw of the latent's posterior.
            noise_map: (1 or B, C, h, w) float32 standard normal, what stands in for the input as gamma falls.
            gamma: in [0, 1].

        Returns:
            (B, 3, H, W) float32, not clamped.
        """
        self._merge(gamma)
        generator, vae = self.generator, self.generator.vae
        encoded = vae.encode(x)
        z = encoded.sample(noise) * vae.scaling_factor
        mixed = z * gamma + noise_map * (1.0 - gamma)
        x0 = generator.denoise(mixed, encoder_hidden_states)
        return vae.decode(x0 / vae.scaling_factor, encoded.activations).float()
