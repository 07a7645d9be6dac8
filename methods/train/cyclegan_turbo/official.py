"""The official CycleGAN-Turbo file and a training: which modules have LoRA, reading a start, writing an export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.errors import InputError
from methods.files import replacing
from methods.nn.tensor_file import below
from methods.train.turbo.networks import UNET_ADAPTER, UNET_TARGETS, VAE_ADAPTER, VAE_TARGETS, load_lora
from methods.turbo.lora import lora_delta
from methods.turbo.official import UNET_GROUPS, VAE_PREFIXES, read_official
from methods.turbo.vae import SkipVAE


def cyclegan_adapters(unet: nn.Module) -> list[str]:
    """Full names of the UNet's modules with LoRA: weights whose name contains one of 14 patterns, and not "norm"."""
    patterns = (*UNET_TARGETS, "conv_in")
    return [
        name.removesuffix(".weight")
        for name, _ in unet.named_parameters()
        if name.endswith(".weight") and "norm" not in name and any(pattern in name for pattern in patterns)
    ]


def group_of(module: str) -> str:
    """The key of the official file that holds a UNet module's LoRA."""
    if "down_blocks" in module or "conv_in" in module:
        return "sd_encoder"
    return "sd_decoder" if "up_blocks" in module else "sd_other"


def load_official(path: Path, unet: nn.Module, vaes: Mapping[str, SkipVAE], rank_unet: int, rank_vae: int) -> None:
    """Put a released file into adapted networks. Raises InputError: another file, rank or shape."""
    state = read_official(path, "cyclegan_turbo")
    for key, rank in (("rank_unet", rank_unet), ("rank_vae", rank_vae)):
        if state[key] != rank:
            raise InputError(f"{path}: {key} is {state[key]}, the training spec has {rank}: set {key}: {state[key]}")
    load_lora(
        unet, {**state["sd_encoder"], **state["sd_decoder"], **state["sd_other"]}, rank_unet, UNET_ADAPTER, str(path)
    )
    both = {**state["sd_vae_enc"], **state["sd_vae_dec"]}
    for direction, vae in vaes.items():
        prefix = VAE_PREFIXES[direction]
        found = below(both, prefix)
        where = f"{path} ({prefix[:-1]})"
        load_lora(vae, found, rank_vae, VAE_ADAPTER, where)
        own = vae.state_dict()
        for name, value in own.items():
            if ".lora_" in name:
                continue
            if name not in found or found[name].shape != value.shape:
                shape = tuple(found[name].shape) if name in found else "missing"
                raise InputError(f"{where}: '{name}' is {shape}, expected {tuple(value.shape)}")
            with torch.no_grad():
                value.copy_(found[name])


def save_official(
    path: Path,
    unet: Mapping[str, Tensor],
    vaes: Mapping[str, Mapping[str, Tensor]],
    first_layer: Tensor,
    rank_unet: int,
    rank_vae: int,
) -> None:
    """Write state dictionaries of adapted networks as the official ``.pkl``.

    Args:
        path: what to write.
        unet, vaes: with LoRA.
        first_layer: the weight of the base model's ``conv_in``.
        rank_unet, rank_vae: of the LoRA.

    The format has no place for the trained first UNet layer, which the release loses. Its change from the base is
    folded into that layer's LoRA: exactly for ranks of at least 9 times the latent channels (36), else its best
    approximation; the base the file is used over must be the one it was trained on. The change of that layer's bias
    (a few numbers) is lost.
    """
    tree: dict[str, Any] = {"rank_unet": rank_unet, "rank_vae": rank_vae, "vae_lora_target_modules": list(VAE_TARGETS)}
    modules = [name.removesuffix(f".lora_A.{UNET_ADAPTER}.weight") for name in unet if ".lora_A." in name]
    for key, listed in UNET_GROUPS.items():
        tree[listed] = [module for module in modules if group_of(module) == key]
        tree[key] = {
            f"{module}.{half}.weight": _stored(unet[f"{module}.{half}.{UNET_ADAPTER}.weight"])
            for module in tree[listed]
            for half in ("lora_A", "lora_B")
        }
    a, b = tree["sd_encoder"]["conv_in.lora_A.weight"], tree["sd_encoder"]["conv_in.lora_B.weight"]
    change = _stored(unet["conv_in.base_layer.weight"]) - _stored(first_layer)
    folded = fold(lora_delta(a, b, 1.0) + change, rank_unet)
    tree["sd_encoder"]["conv_in.lora_A.weight"], tree["sd_encoder"]["conv_in.lora_B.weight"] = folded
    full = {f"{VAE_PREFIXES[d]}{name}": _stored(value) for d, state in vaes.items() for name, value in state.items()}
    tree["sd_vae_enc"], tree["sd_vae_dec"] = dict(full), dict(full)
    with replacing(path) as partial:
        torch.save(tree, partial)


def fold(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best LoRA (A, B) of a rank for a whole convolution weight (out, in, k, k), by singular values."""
    out, inputs, *kernel = weight.shape
    u, s, v = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    a, b = torch.zeros(rank, inputs * kernel[0] * kernel[1]), torch.zeros(out, rank)
    a[:kept], b[:, :kept] = (root[:, None] * v[:kept]).float(), (u[:, :kept] * root).float()
    return a.view(rank, inputs, *kernel), b.view(out, rank, 1, 1)


def _stored(value: Tensor) -> Tensor:
    return value.detach().float().cpu().contiguous().clone()
