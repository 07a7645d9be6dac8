"""The networks that a CycleGAN-Turbo training starts from."""

from __future__ import annotations

from methods.errors import InputError
from methods.train.cyclegan_turbo.info import CycleGANTurboTrainParams
from methods.train.cyclegan_turbo.official import cyclegan_adapters, load_official
from methods.train.turbo.networks import (
    UNET_ADAPTER,
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

DIRECTIONS = ("a2b", "b2a")


def adapted_parts(params: CycleGANTurboTrainParams) -> Parts:
    """The networks that ``params`` name, with LoRA inserted and trained parameters marked. Raises InputError."""
    kind, path = start_kind(params.start)
    if params.networks == "mini":
        if path is not None or params.adapt != "full":
            raise InputError("networks: mini trains every weight from scratch: set adapt: full and no start")
        parts = mini_parts(DIRECTIONS, {"a2b": params.caption_b, "b2a": params.caption_a})
    elif kind == "native":
        assert path is not None
        parts = native_parts(path, "cyclegan_turbo", {d: d for d in DIRECTIONS}, params.base)
    else:
        parts = base_parts(params.base, DIRECTIONS)
    for caption in (params.caption_a, params.caption_b):
        if not parts.captions.knows(caption):
            held = ", ".join(f"'{known}'" for known in parts.captions.stored)
            raise InputError(f"{parts.captions.where}: holds no embedding of the caption '{caption}', it has: {held}")
    if params.adapt == "full":
        if kind == "official":
            raise InputError(f"{path}: an official file holds LoRA: train it with adapt: lora")
        return parts
    add_lora(parts.unet, cyclegan_adapters(parts.unet), params.rank_unet, params.rank_unet, UNET_ADAPTER)
    parts.unet.conv_in.requires_grad_(True)
    for vae in parts.vaes.values():
        add_lora(vae, VAE_TARGETS, params.rank_vae, PEFT_ALPHA, VAE_ADAPTER)
    if kind == "official":
        assert path is not None
        load_official(path, parts.unet, parts.vaes, params.rank_unet, params.rank_vae)
    return parts
