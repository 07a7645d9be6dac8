"""The networks that a pix2pix-Turbo training starts from."""

from __future__ import annotations

from methods.errors import InputError
from methods.train.pix2pix_turbo.info import Pix2PixTurboTrainParams
from methods.train.pix2pix_turbo.official import load_official
from methods.train.turbo.networks import (
    UNET_ADAPTER,
    UNET_TARGETS,
    VAE_ADAPTER,
    VAE_TARGETS,
    Parts,
    add_lora,
    base_parts,
    mini_parts,
    native_parts,
    start_kind,
)
from methods.turbo.official import PEFT_ALPHA

DIRECTION = "translate"
"""The one direction of a file of ours."""


def adapted_parts(params: Pix2PixTurboTrainParams) -> Parts:
    """The networks that ``params`` name, with LoRA inserted and trained parameters marked. Raises InputError."""
    kind, path = start_kind(params.start)
    if params.stochastic and params.adapt == "full":
        raise InputError("stochastic: true blends LoRA by gamma: set adapt: lora")
    if params.networks == "mini":
        if path is not None or params.adapt != "full" or params.caption is None:
            raise InputError("networks: mini trains from scratch: set adapt: full and a caption, and no start")
        parts = mini_parts([DIRECTION], {DIRECTION: params.caption})
    elif kind == "native":
        assert path is not None
        parts = native_parts(path, "pix2pix_turbo", {DIRECTION: DIRECTION}, params.base)
    else:
        parts = base_parts(params.base, [DIRECTION])
    if params.caption is not None and not parts.captions.knows(params.caption):
        held = ", ".join(f"'{known}'" for known in parts.captions.stored)
        raise InputError(f"{parts.captions.where}: holds no embedding of '{params.caption}', it has: {held}")
    if params.adapt == "full":
        if kind == "official":
            raise InputError(f"{path}: an official file holds LoRA: train it with adapt: lora")
        return parts
    unet, vae = parts.unet, parts.vaes[DIRECTION]
    add_lora(unet, UNET_TARGETS, params.rank_unet, PEFT_ALPHA, UNET_ADAPTER)
    unet.conv_in.requires_grad_(True)
    add_lora(vae, VAE_TARGETS, params.rank_vae, PEFT_ALPHA, VAE_ADAPTER)
    for number in range(1, vae.skip_count + 1):
        vae.get_parameter(f"decoder.skip_conv_{number}.base_layer.weight").requires_grad_(True)
    if kind == "official":
        assert path is not None
        load_official(path, unet, vae, params.rank_unet, params.rank_vae, params.stochastic)
    return parts
