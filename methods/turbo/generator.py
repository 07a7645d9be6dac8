"""One step of SD-Turbo from an image to an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from methods.nn.noise_schedule import configured_alphas
from methods.turbo.vae import EncodedImages, SkipVAE

TIMESTEP = 999


class OneStepGenerator(nn.Module):
    """Encode, one UNet call at t = 999, closed-form x0, decode with skips (section 3 of arXiv 2403.12036).

    Args:
        unet: predicts epsilon.
        vae: the VAE of one translation direction.
        alpha_bar: cumulative alpha at t = 999 (0.00466 for SD-Turbo).
    """

    def __init__(self, unet: UNet2DConditionModel, vae: SkipVAE, alpha_bar: float) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.alpha_bar = alpha_bar

    def denoise(self, z: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """x0 (B, C, h, w) float32 from latents z: ``(z - sqrt(1 - a) * eps) / sqrt(a)``.

        This is DDPM's last step with its 1e-10 noise left out. On SD-Turbo it multiplies errors by 15, and the
        decoder's scale by another 5.5: latents and step stay in float32 whatever the network's dtype.
        """
        dtype = self.unet.conv_in.weight.dtype
        timestep = torch.full((z.shape[0],), TIMESTEP, device=z.device, dtype=torch.int64)
        embedding = encoder_hidden_states.to(dtype).expand(z.shape[0], -1, -1)
        epsilon = self.unet(z.to(dtype), timestep, embedding, return_dict=False)[0]
        return (z - math.sqrt(1.0 - self.alpha_bar) * epsilon.float()) / math.sqrt(self.alpha_bar)

    def forward(self, x: Tensor, encoder_hidden_states: Tensor, noise: Tensor) -> Tensor:
        """Translate a batch.

        Args:
            x: (B, 3, H, W) in the range the weights were trained on; H, W multiples of ``vae.downscale``.
            encoder_hidden_states: (1 or B, L, D) caption embedding.
            noise: (B, C, h, w) float32 standard normal, the draw of the latent's posterior.

        Returns:
            (B, 3, H, W) float32, about [-1, 1], not clamped.
        """
        return self.finish(self.vae.encode(x), encoder_hidden_states, noise)

    def finish(self, encoded: EncodedImages, encoder_hidden_states: Tensor, noise: Tensor) -> Tensor:
        """What :meth:`forward` does behind the encoder."""
        z = encoded.sample(noise) * self.vae.scaling_factor
        x0 = self.denoise(z, encoder_hidden_states)
        return self.vae.decode(x0 / self.vae.scaling_factor, encoded.activations).float()

    def heavy(self) -> list[tuple[Any, str]]:
        """What takes the time, as :class:`methods.compiling.Compilable`."""
        return [(self, "unet"), (self.vae, "encode"), (self.vae, "decode")]

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of one sample's latent noise for an image of this size."""
        return (self.vae.latent_channels, height // self.vae.downscale, width // self.vae.downscale)


def build_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """The UNet of a diffusers configuration, with fresh weights."""
    return cast(UNet2DConditionModel, UNet2DConditionModel.from_config(dict(config)))


def alpha_bar_of(config: Mapping[str, Any], timestep: int = TIMESTEP) -> float:
    """Cumulative alpha at ``timestep`` from a diffusers scheduler configuration.

    Raises:
        ValueError: a beta schedule that is not known, or a prediction type the one-step formula does not cover.
        IndexError: fewer timesteps than that.
    """
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise ValueError(f"prediction_type {config['prediction_type']!r}, expected 'epsilon'")
    return float(configured_alphas(config)[timestep])
