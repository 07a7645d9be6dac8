"""The official pix2pix-Turbo file and a training: reading a start, writing an export, stochastic weights included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.errors import InputError
from methods.files import replacing
from methods.train.turbo.networks import UNET_ADAPTER, UNET_TARGETS, VAE_ADAPTER, VAE_TARGETS, load_lora
from methods.turbo.official import PRETRAINED_LAYER, TRAINED_LAYER, read_official
from methods.turbo.vae import SkipVAE


def load_official(path: Path, unet: nn.Module, vae: SkipVAE, rank_unet: int, rank_vae: int, stochastic: bool) -> None:
    """Put a released file into adapted networks.

    Raises:
        InputError: another file, rank or shape, or stochastic weights for a deterministic training or the reverse.
    """
    state = read_official(path, "pix2pix_turbo")
    for key, rank in (("rank_unet", rank_unet), ("rank_vae", rank_vae)):
        if state[key] != rank:
            raise InputError(f"{path}: {key} is {state[key]}, the training spec has {rank}: set {key}: {state[key]}")
    in_unet, in_vae = state["state_dict_unet"], state["state_dict_vae"]
    twin = f"{TRAINED_LAYER}.weight" in in_unet
    if twin != stochastic:
        found, wanted = ("stochastic", "false") if twin else ("deterministic", "true")
        raise InputError(f"{path}: holds {found} weights, the training spec has stochastic: {wanted}")
    load_lora(unet, in_unet, rank_unet, UNET_ADAPTER, f"{path} (state_dict_unet)")
    load_lora(vae, in_vae, rank_vae, VAE_ADAPTER, f"{path} (state_dict_vae)")
    source = TRAINED_LAYER if twin else "conv_in"
    full = {f"conv_in.{part}": (unet, in_unet.get(f"{source}.{part}")) for part in ("weight", "bias")}
    for number in range(1, vae.skip_count + 1):
        name = f"decoder.skip_conv_{number}.base_layer.weight"
        full[name] = (vae, in_vae.get(name))
    for name, (network, value) in full.items():
        own = network.get_parameter(name)
        if value is None or value.shape != own.shape:
            found = "missing" if value is None else f"{tuple(value.shape)}"
            raise InputError(f"{path}: '{name}' is {found}, expected {tuple(own.shape)}")
        with torch.no_grad():
            own.copy_(value)


def save_official(
    path: Path,
    unet: Mapping[str, Tensor],
    vae: Mapping[str, Tensor],
    rank_unet: int,
    rank_vae: int,
    pretrained: tuple[Tensor, Tensor] | None,
) -> None:
    """Write state dictionaries of adapted networks as the official ``.pkl``, with ``pretrained`` a stochastic one."""
    kept = {name: _stored(value) for name, value in unet.items() if "lora" in name or "conv_in" in name}
    if pretrained is not None:
        for part, value in zip(("weight", "bias"), pretrained, strict=True):
            kept[f"{TRAINED_LAYER}.{part}"] = kept.pop(f"conv_in.{part}")
            kept[f"{PRETRAINED_LAYER}.{part}"] = _stored(value)
    tree = {
        "unet_lora_target_modules": list(UNET_TARGETS),
        "vae_lora_target_modules": list(VAE_TARGETS),
        "rank_unet": rank_unet,
        "rank_vae": rank_vae,
        "state_dict_unet": kept,
        "state_dict_vae": {name: _stored(value) for name, value in vae.items() if "lora" in name or "skip" in name},
    }
    with replacing(path) as partial:
        torch.save(tree, partial)


def _stored(value: Tensor) -> Tensor:
    return value.detach().float().cpu().contiguous().clone()
