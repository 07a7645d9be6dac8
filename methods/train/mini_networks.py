"""CycleGAN-Turbo in miniature: the layout of the full model, a thousandth of its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.turbo.generator import OneStepGenerator, alpha_bar_of, build_unet
from methods.turbo.native import NativeConfig
from methods.turbo.vae import SkipVAE

DIRECTIONS = ("a2b", "b2a")
_CAPTION_TOKENS = 8
_CAPTION_WIDTH = 64

UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [48, 64],
    "layers_per_block": 1,
    "cross_attention_dim": _CAPTION_WIDTH,
    "attention_head_dim": [2, 2],
    "norm_num_groups": 8,
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 32, 48, 64],
    "layers_per_block": 1,
    "latent_channels": 8,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": 128,
    "scaling_factor": 1.0,
}
# SD-Turbo's own schedule (alpha-bar 0.0047) multiplies an untrained UNet's error by 14.6; this one by 1.4
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.0013,
    "prediction_type": "epsilon",
    "clip_sample": False,
}


class MiniTurbo(nn.Module):
    """One UNet, a VAE for each direction, and one learned caption embedding for each direction.

    The learned embedding stands where the full model has the text encoder's output for its one fixed caption. The
    UNet's last layer starts at zero, so that the first thing learned is to pass the picture through.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet = build_unet(UNET)
        self.vaes = nn.ModuleDict({direction: SkipVAE(VAE) for direction in DIRECTIONS})
        self.captions = nn.ParameterDict(
            {d: nn.Parameter(torch.randn(1, _CAPTION_TOKENS, _CAPTION_WIDTH)) for d in DIRECTIONS}
        )
        self.alpha_bar = alpha_bar_of(SCHEDULER)
        nn.init.zeros_(self.unet.conv_out.weight)
        for vae in self.vaes.values():
            assert isinstance(vae, SkipVAE)
            for number in range(1, vae.skip_count + 1):
                vae.skip_conv(number).reset_parameters()
            # quiet latents from the start: no KL term asks for noise, and noise would only blur
            assert vae.quant_conv is not None
            assert vae.quant_conv.bias is not None
            with torch.no_grad():
                vae.quant_conv.bias[vae.latent_channels :] = -8.0

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
