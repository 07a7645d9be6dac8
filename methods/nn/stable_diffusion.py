"""A frozen text-to-image latent diffusion model (Stable Diffusion 1.x and its relatives) from a diffusers folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from methods import weights as store
from methods.errors import InputError, first_line
from methods.nn.attention_capture import make_readable
from methods.nn.ddim import noise_from_velocity
from methods.nn.model_pack import unpack
from methods.nn.noise_schedule import configured_alphas


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
        self.folder = store.fetch(uri)
        if not self.folder.is_dir():
            self.folder = unpack(self.folder)
        self.scheduler_config = self._config("scheduler", "scheduler_config.json")
        try:
            self.alphas = configured_alphas(self.scheduler_config)
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.folder / 'scheduler'}: no noise schedule that is known ({error})") from None
        self.prediction_type = str(self.scheduler_config.get("prediction_type", "epsilon"))
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"{self.folder / 'scheduler'}: prediction_type is {self.prediction_type}, expected epsilon or "
                "v_prediction"
            )
        self.text = TextEncoder(self.folder, device)
        self.unet = cast(UNet2DConditionModel, self._load(UNet2DConditionModel, "unet", dtype))
        self.vae = cast(AutoencoderKL, self._load(AutoencoderKL, "vae", torch.float32))
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

    def _config(self, part: str, name: str) -> dict[str, Any]:
        path = self.folder / part / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(f"{self.folder}: {part}/{name} missing, expected a model in diffusers' layout") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None

    def _load(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        if not (self.folder / part / "config.json").exists():
            raise InputError(f"{self.folder}: {part}/config.json missing, expected a model in diffusers' layout")
        try:
            network, report = kind.from_pretrained(
                str(self.folder), subfolder=part, torch_dtype=dtype, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"{self.folder / part}: cannot be loaded ({first_line(error)})") from None
        lost = sorted(report.get("missing_keys") or [])
        if lost:
            raise InputError(f"{self.folder / part}: '{lost[0]}' missing ({len(lost)} tensors in all)")
        return network


class TextEncoder:
    """CLIP's text tower with its tokenizer: last hidden state after the final layer norm, no attention mask.

    Args:
        folder: a model in diffusers' layout; ``tokenizer`` and ``text_encoder`` are read.

    Raises:
        InputError: either cannot be loaded.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging

        talkative = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        for part, name in (("tokenizer", "vocab.json"), ("text_encoder", "config.json")):
            if not (folder / part / name).exists():
                raise InputError(f"{folder}: {part}/{name} missing, expected a model in diffusers' layout")
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(str(folder), subfolder="tokenizer")
            loaded: Any = CLIPTextModel.from_pretrained(
                str(folder), subfolder="text_encoder", torch_dtype=torch.float32, output_loading_info=True
            )
            encoder, report = loaded
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"{folder}: tokenizer or text_encoder cannot be loaded ({first_line(error)})") from None
        finally:
            if talkative:
                logging.enable_progress_bar()
        lost = sorted(name for name in report["missing_keys"] if "position_ids" not in name)
        if lost:
            raise InputError(f"{folder / 'text_encoder'}: '{lost[0]}' missing ({len(lost)} tensors in all)")
        self.folder, self.device = folder, device
        self.encoder = encoder.to(device).eval().requires_grad_(False)
        self.width = int(encoder.config.hidden_size)
        self.length = int(encoder.config.max_position_embeddings)
        self._lock = threading.Lock()

    def ids(self, text: str) -> list[int]:
        """Token ids with start and end token, neither padded nor cut. Safe to call from many threads."""
        with self._lock:
            return [int(token) for token in self.tokenizer(text).input_ids]

    def padded(self, texts: Sequence[str]) -> Tensor:
        """(n, 77) int64 token ids, padded with the tokenizer's pad token.

        Raises:
            ValueError: a text of more than 77 tokens; it is never cut silently.
        """
        rows = []
        for text in texts:
            ids = self.ids(text)
            if len(ids) > self.length:
                raise ValueError(too_long(text, len(ids), self.length))
            rows.append(ids + [int(self.tokenizer.pad_token_id)] * (self.length - len(ids)))  # type: ignore[arg-type]
        return torch.tensor(rows, dtype=torch.int64)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """(n, 77, D) float32. Raises ValueError as :meth:`padded`."""
        return self.encoder(self.padded(texts).to(self.device))[0]


def too_long(text: str, tokens: int, limit: int) -> str:
    """What to say of a text with too many tokens."""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return f"'{shown}' is {tokens} tokens long with start and end, more than {limit}: shorten it"
