"""The Turbo networks in miniature: the layout of the full models, a few thousandths of their size."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from methods.turbo.generator import build_unet
from methods.turbo.vae import SkipVAE

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


def mini_unet() -> UNet2DConditionModel:
    """The UNet. Its last layer starts at zero, so that the first thing learned is to pass the picture through."""
    unet = build_unet(UNET)
    nn.init.zeros_(unet.conv_out.weight)
    return unet


def mini_vae() -> SkipVAE:
    """The VAE of one direction, with skip convolutions that pass something from the start, and with quiet latents."""
    vae = SkipVAE(VAE)
    for number in range(1, vae.skip_count + 1):
        vae.skip_conv(number).reset_parameters()
    # no KL term asks for noise, and noise would only blur
    assert vae.quant_conv is not None
    assert vae.quant_conv.bias is not None
    with torch.no_grad():
        vae.quant_conv.bias[vae.latent_channels :] = -8.0
    return vae


def mini_caption(caption: str) -> Tensor:
    """(L, D): random numbers in place of a text encoder's output, different for every caption.

    A function of the text alone: embeddings are not trained, so a run that goes on elsewhere must find the same.
    """
    seed = int.from_bytes(hashlib.blake2b(caption.encode(), digest_size=7).digest(), "little")
    return torch.randn(_CAPTION_TOKENS, _CAPTION_WIDTH, generator=torch.Generator().manual_seed(seed))
