"""CycleGAN-Turbo in miniature as one module; :mod:`methods.train.turbo.mini_turbo` trains and writes it as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.train.turbo.mini_networks import SCHEDULER, UNET, VAE, mini_caption, mini_unet, mini_vae
from methods.turbo.generator import OneStepGenerator, alpha_bar_of
from methods.turbo.native import NativeConfig

DIRECTIONS = ("a2b", "b2a")


class MiniTurbo(nn.Module):
    """One UNet, a VAE for each direction, and one learned caption embedding for each direction.

    The learned embedding stands where the full model has the text encoder's output for its one fixed caption.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet = mini_unet()
        self.vaes = nn.ModuleDict({direction: mini_vae() for direction in DIRECTIONS})
        self.captions = nn.ParameterDict({d: nn.Parameter(mini_caption(d)[None]) for d in DIRECTIONS})
        self.alpha_bar = alpha_bar_of(SCHEDULER)

    def forward(self, x: Tensor, direction: str, noise: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the translation, not clamped."""
        generator = OneStepGenerator(self.unet, self.vaes[direction], self.alpha_bar)  # type: ignore[arg-type]
        shape = generator.latent_shape(x.shape[-2], x.shape[-1])
        noise = torch.randn(x.shape[0], *shape, device=x.device) if noise is None else noise
        return generator(x, self.captions[direction], noise)


def native_parts(
    model: MiniTurbo,
    state: Mapping[str, Tensor],
    captions: Mapping[str, str],
    about: Mapping[str, Any],
    dtype: torch.dtype,
) -> tuple[NativeConfig, dict[str, Tensor]]:
    """``state`` (for example averaged weights) as :func:`methods.turbo.native.save_native` takes it."""
    config = NativeConfig(
        method="cyclegan_turbo",
        unet=UNET,
        vae=VAE,
        scheduler=SCHEDULER,
        vaes={direction: f"vae_{direction}" for direction in DIRECTIONS},
        captions=tuple(captions[direction] for direction in DIRECTIONS),
        default_captions=dict(captions),
        about=about,
    )
    tensors: dict[str, Tensor] = {}
    for name in model.state_dict():
        value = state[name].to(dtype)
        head, _, rest = name.partition(".")
        if head == "vaes":
            tensors[f"vae_{rest}"] = value
        elif head == "captions":
            tensors[f"captions.{DIRECTIONS.index(rest)}"] = value[0]
        else:
            tensors[name] = value
    return config, tensors
