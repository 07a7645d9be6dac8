"""A text-to-image model as diffusers stores it: one folder per part, each with a configuration and weights."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from methods.counting import counted
from methods.errors import InputError, first_line
from methods.nn.model_pack import unpack
from methods.nn.noise_schedule import configured_alphas
from methods.nn.text_encoder import TextEncoder


class ModelFolder:
    """``unet``, ``vae``, ``scheduler``, ``tokenizer`` and ``text_encoder`` of a model, each read when it is asked for.

    Args:
        path: such a folder, or one file of :mod:`methods.nn.model_pack`.

    Raises:
        InputError: a file that is no such model. Everything read raises it too; folder or file are named.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else unpack(path)

    @cached_property
    def scheduler_config(self) -> dict[str, Any]:
        """The noise schedule and how it was trained, as diffusers describes it."""
        return self.config("scheduler", "scheduler_config.json")

    @cached_property
    def alphas(self) -> Tensor:
        """Alpha-bar (T,) float32."""
        try:
            return configured_alphas(self.scheduler_config)
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.folder / 'scheduler'}: no noise schedule that is known ({error})") from None

    @property
    def index(self) -> dict[str, Any]:
        """``model_index.json``; empty where there is none, as in our own single files."""
        return self.config("", "model_index.json") if (self.folder / "model_index.json").exists() else {}

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """A part's JSON file."""
        path = self.folder / part / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(f"{self.folder}: {part}/{name} missing, expected a model in diffusers' layout") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None

    def unet(self, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        """The UNet, on the CPU."""
        return self._network(UNet2DConditionModel, "unet", dtype)

    def vae(self) -> AutoencoderKL:
        """The VAE, float32, on the CPU."""
        return self._network(AutoencoderKL, "vae", torch.float32)

    def text(self, device: torch.device, suffix: Literal["", "_2"] = "") -> TextEncoder:
        """Tokenizer and text encoder, float32; ``_2`` are SDXL's second ones."""
        return TextEncoder(self.folder, device, suffix)

    def _network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
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
            raise InputError(f"{self.folder / part}: '{lost[0]}' missing ({counted(len(lost), 'tensor')} in all)")
        return network
