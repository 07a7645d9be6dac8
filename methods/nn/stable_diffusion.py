"""A frozen text-to-image latent diffusion model (Stable Diffusion 1.x and its relatives) from a diffusers folder."""

from __future__ import annotations

import torch
from torch import Tensor

from methods import weights as store
from methods.errors import InputError
from methods.nn.attention_capture import make_readable
from methods.nn.ddim import noise_from_velocity
from methods.nn.model_folder import ModelFolder


class StableDiffusion:
    """Tokenizer, text encoder, VAE, UNet and noise schedule, frozen, on one device.

    Text encoder and the VAE run in float32; only the UNet runs in ``dtype``. Latents and all arithmetic between calls
    are float32. Attention maps can be read (:mod:`methods.nn.attention_capture`).

    Args:
        uri: folder, hub id or URI of a model in diffusers' layout, or one file of :mod:`methods.nn.model_pack`.
        device, dtype: where the networks run, and the UNet's precision.

    Raises:
        InputError: a part is missing or does not fit; the file is named.
    """

    def __init__(self, uri: str, device: torch.device, dtype: torch.dtype) -> None:
        self.uri, self.device, self.dtype = uri, device, dtype
        model = ModelFolder(store.fetch(uri))
        self.folder = model.folder
        self.scheduler_config, self.alphas = model.scheduler_config, model.alphas
        self.prediction_type = str(self.scheduler_config.get("prediction_type", "epsilon"))
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"{self.folder / 'scheduler'}: prediction_type is {self.prediction_type}, expected epsilon or "
                "v_prediction"
            )
        self.text = model.text(device)
        self.unet, self.vae = model.unet(dtype), model.vae()
        for network in (self.unet, self.vae):
            network.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]
        make_readable(self.unet)
        width = self.unet.config["cross_attention_dim"]
        if width != self.text.width:
            raise InputError(
                f"{self.folder}: the text encoder's width is {self.text.width}, the unet's cross_attention_dim {width}"
            )
        if self.unet.config["addition_embed_type"] is not None:
            raise InputError(f"{self.folder / 'unet'}: a model with added conditions (SDXL), expected SD 1.x or 2.x")
        self.scaling_factor = float(self.vae.config["scaling_factor"])
        self.latent_channels = int(self.vae.config["latent_channels"])
        self.downscale = 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the latent of one image."""
        return self.latent_channels, height // self.downscale, width // self.downscale

    @torch.no_grad()
    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] and standard normal (B, C, h, w) -> a scaled sample of the posterior, float32."""
        posterior = self.vae.encode(images.float()).latent_dist  # type: ignore[union-attr]
        return (posterior.mean + posterior.std * noise) * self.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, H, W) float32, clamped to [-1, 1]."""
        return self.vae.decode(latents / self.scaling_factor, return_dict=False)[0].clamp(-1.0, 1.0)  # type: ignore[index]

    @torch.no_grad()
    def noise(self, latents: Tensor, timestep: int, embeddings: Tensor) -> Tensor:
        """Predicted noise (B, C, h, w) float32 of latents under (B, 77, D) embeddings; fused attention, no gradient."""
        output = self.unet(latents.to(self.dtype), timestep, embeddings.to(self.dtype), return_dict=False)[0]
        return self.as_noise(latents, output, timestep)

    def as_noise(self, latents: Tensor, output: Tensor, timestep: int) -> Tensor:
        """The UNet's output as noise, float32: itself, or converted where the model predicts v."""
        output = output.float()
        if self.prediction_type == "epsilon":
            return output
        return noise_from_velocity(latents, output, float(self.alphas[timestep]))
