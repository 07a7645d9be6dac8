"""Reading an SD-Turbo folder: configurations, UNet weights, alpha-bar and caption embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from methods.errors import InputError, first_line
from methods.turbo.generator import alpha_bar_of

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer


class BaseModel:
    """A local folder in diffusers' layout: ``unet``, ``vae``, ``scheduler``, ``tokenizer``, ``text_encoder``.

    Raises:
        InputError: a subfolder or file is missing, with the name of what was expected.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputError(f"{folder}: expected the folder of a base model (stabilityai/sd-turbo), found a file")
        self.vae_config = self._config("vae", "config.json")
        self.unet_config = self._config("unet", "config.json")
        self.scheduler_config = self._config("scheduler", "scheduler_config.json")
        try:
            self.alpha_bar = alpha_bar_of(self.scheduler_config)
        except (ValueError, IndexError) as error:
            raise InputError(f"{folder / 'scheduler'}: not SD-Turbo's noise schedule ({error})") from None

    def _config(self, part: str, name: str) -> dict[str, Any]:
        path = self.folder / part / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(
                f"{self.folder}: {part}/{name} missing, expected a base model in diffusers' layout"
            ) from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None

    def unet(self) -> UNet2DConditionModel:
        """The UNet with its base weights, float32, on the CPU."""
        try:
            return UNet2DConditionModel.from_pretrained(str(self.folder), subfolder="unet", torch_dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.folder / 'unet'}: cannot be loaded ({first_line(error)})") from None

    def vae_weights(self) -> dict[str, Tensor]:
        """The base VAE's weights by today's names, float32; the skip convolutions are not among them."""
        try:
            vae = AutoencoderKL.from_pretrained(str(self.folder), subfolder="vae", torch_dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.folder / 'vae'}: cannot be loaded ({first_line(error)})") from None
        return dict(vae.state_dict())

    def text(self) -> tuple[CLIPTokenizer, CLIPTextModel]:
        """Tokenizer and text encoder, float32, on the CPU."""
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging

        # one bar a worker process, for a load of half a second, would only litter the log
        talkative = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            tokenizer = CLIPTokenizer.from_pretrained(str(self.folder), subfolder="tokenizer")
            encoder = CLIPTextModel.from_pretrained(
                str(self.folder), subfolder="text_encoder", torch_dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(
                f"{self.folder}: tokenizer or text_encoder cannot be loaded ({first_line(error)})"
            ) from None
        finally:
            if talkative:
                logging.enable_progress_bar()
        return tokenizer, encoder.eval().requires_grad_(False)

    def embed(self, caption: str) -> Tensor:
        """(1, 77, D) float32: the text encoder's last hidden state, without attention mask, padded by the tokenizer.

        The text encoder is loaded for the call and dropped: one caption serves the whole job.
        """
        tokenizer, encoder = self.text()
        tokens = tokenizer(
            caption, max_length=tokenizer.model_max_length, padding="max_length", truncation=True, return_tensors="pt"
        )
        with torch.inference_mode():
            embedding = encoder(tokens.input_ids)[0]
        return embedding.clone()
