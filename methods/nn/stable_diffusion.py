"""A frozen text-to-image latent diffusion model (Stable Diffusion 1.x, 2.x and SDXL) from a diffusers folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from methods import weights as store
from methods.errors import InputError
from methods.nn.attention_capture import make_readable
from methods.nn.ddim import noise_from_velocity
from methods.nn.model_folder import ModelFolder


class Embedded(NamedTuple):
    """What a UNet reads of n texts: states (n, 77, D), and of SDXL the projection (n, P) of its second encoder."""

    states: Tensor
    pooled: Tensor | None = None


class StableDiffusion:
    """Tokenizer, text encoder, VAE, UNet and noise schedule, frozen, on one device; of SDXL (base) both text encoders.

    Text encoder and the VAE run in float32; only the UNet runs in ``dtype``. Latents and all arithmetic between calls
    are float32. Attention maps can be read (:mod:`methods.nn.attention_capture`).

    Args:
        uri: folder, hub id or URI of a model in diffusers' layout, or one file of :mod:`methods.nn.model_pack`.
        device, dtype: where the networks run, and the UNet's precision.
        sdxl: whether the caller gives the UNet what SDXL's wants beside the text; else such a model is refused.

    Raises:
        InputError: a part is missing or does not fit; the file is named.
    """

    def __init__(self, uri: str, device: torch.device, dtype: torch.dtype, sdxl: bool = False) -> None:
        self.uri, self.device, self.dtype = uri, device, dtype
        model = ModelFolder(store.fetch(uri))
        self.folder = model.folder
        self.scheduler_config, self.alphas = model.scheduler_config, model.alphas
        self.zeros_for_no_prompt = model.index.get("force_zeros_for_empty_prompt", True)
        self.prediction_type = str(self.scheduler_config.get("prediction_type", "epsilon"))
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"{self.folder / 'scheduler'}: prediction_type is {self.prediction_type}, expected epsilon or "
                "v_prediction"
            )
        added = model.config("unet").get("addition_embed_type")
        if added is not None and not (sdxl and added == "text_time"):
            expected = "SD 1.x, 2.x or SDXL" if sdxl else "SD 1.x or 2.x"
            raise InputError(f"{self.folder / 'unet'}: a model with added conditions ({added}), expected {expected}")
        self.text = model.text(device)
        self.second = None if added is None else model.text(device, "_2")
        self.unet, self.vae = model.unet(dtype), model.vae()
        for network in (self.unet, self.vae):
            network.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]
        make_readable(self.unet)
        width = self.unet.config["cross_attention_dim"]
        if self.second is None and width != self.text.width:
            raise InputError(
                f"{self.folder}: the text encoder's width is {self.text.width}, the unet's cross_attention_dim {width}"
            )
        if self.second is not None:
            self._check_sdxl(self.text.width + self.second.width, width)
        self.scaling_factor = float(self.vae.config["scaling_factor"])
        self.latent_channels = int(self.vae.config["latent_channels"])
        self.downscale = 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    def _check_sdxl(self, given: int, width: int) -> None:
        assert self.second is not None
        if given != width:
            raise InputError(
                f"{self.folder}: the text encoders' widths add up to {given}, the unet's cross_attention_dim is {width}"
            )
        added = self.second.encoder.config.projection_dim + 6 * self.unet.config["addition_time_embed_dim"]
        if added != self.unet.config["projection_class_embeddings_input_dim"]:
            raise InputError(f"{self.folder / 'unet'}: other added conditions than SDXL's base model has (a refiner?)")

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The texts as the UNet reads them; of SDXL the states of both encoders side by side."""
        if self.second is None:
            return Embedded(self.text.embed(texts))
        first, _ = self.text.penultimate(texts)
        second, pooled = self.second.penultimate(texts)
        return Embedded(torch.cat([first, second], dim=-1), pooled)

    def no_prompt(self) -> Embedded:
        """(1, ...): what stands for no prompt: the empty text; for SDXL zeros, unless its index says otherwise."""
        empty = self.embed([""])
        if empty.pooled is None or not self.zeros_for_no_prompt:
            return empty
        return Embedded(torch.zeros_like(empty.states), torch.zeros_like(empty.pooled))

    def added(self, latents: Tensor, pooled: Tensor | None) -> dict[str, Tensor] | None:
        """What SDXL's UNet takes beside the text: pooled text, and the picture's size, uncropped, as both its sizes."""
        if pooled is None:
            return None
        height, width = (self.downscale * side for side in latents.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=latents.device)
        return {"text_embeds": pooled.to(self.dtype), "time_ids": sizes.expand(len(latents), -1)}

    def heavy(self) -> list[tuple[Any, str]]:
        """What takes the time and can be compiled, as :class:`methods.compiling.Compilable`.

        Reading attention maps goes through the UNet as it is: what is read changes from call to call.
        """
        return [(self, "predict"), (self.vae, "encoder"), (self.vae, "decoder")]

    def predict(self, latents: Tensor, timestep: Tensor, states: Tensor, added: dict[str, Tensor] | None) -> Tensor:
        """The UNet's output (B, C, h, w) for () int64 ``timestep``, all others in its dtype."""
        return self.unet(latents, timestep, states, added_cond_kwargs=added, return_dict=False)[0]

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
    def noise(self, latents: Tensor, timestep: int, embeddings: Tensor, pooled: Tensor | None = None) -> Tensor:
        """Predicted noise (B, C, h, w) float32 of latents under (B, 77, D) embeddings; fused attention, no gradient.

        ``pooled`` (B, P) is the projection that SDXL takes.
        """
        states, added = embeddings.to(self.dtype), self.added(latents, pooled)
        # a number would be a constant of what is compiled
        step = torch.tensor(timestep, device=latents.device)
        output = self.predict(latents.to(self.dtype), step, states, added)
        return self.as_noise(latents, output, timestep)

    def as_noise(self, latents: Tensor, output: Tensor, timestep: int) -> Tensor:
        """The UNet's output as noise, float32: itself, or converted where the model predicts v."""
        output = output.float()
        if self.prediction_type == "epsilon":
            return output
        return noise_from_velocity(latents, output, float(self.alphas[timestep]))
