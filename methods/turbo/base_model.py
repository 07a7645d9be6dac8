"""The model that img2img-turbo's weights are put on: SD-Turbo, or another of its kind, in diffusers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.errors import InputError
from methods.nn.model_folder import ModelFolder
from methods.turbo.generator import alpha_bar_of


class BaseModel(ModelFolder):
    """A :class:`~methods.nn.model_folder.ModelFolder` whose scheduler the one-step formula covers.

    Raises:
        InputError: a part is missing, or the noise schedule is another.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.vae_config: dict[str, Any] = self.config("vae")
        self.unet_config: dict[str, Any] = self.config("unet")
        try:
            self.alpha_bar = alpha_bar_of(self.scheduler_config)
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(f"{self.folder / 'scheduler'}: not SD-Turbo's noise schedule ({error})") from None

    def vae_weights(self) -> dict[str, Tensor]:
        """The base VAE's weights by today's names, float32; the skip convolutions are not among them."""
        return dict(self.vae().state_dict())

    def embed(self, caption: str) -> Tensor:
        """(1, 77, D) float32 embedding of the caption of a whole job; the text encoder is loaded for it and dropped."""
        text = self.text(torch.device("cpu"))
        text.check(caption)
        return text.embed([caption])
