"""Building the generator of one direction from an official file or one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from methods import weights as store
from methods.cyclegan_turbo.params import CycleGANTurboParams
from methods.errors import InputError
from methods.nn.tensor_file import below, fill, is_safetensors
from methods.turbo.base_model import BaseModel
from methods.turbo.generator import OneStepGenerator, alpha_bar_of, build_unet
from methods.turbo.lora import merge_released
from methods.turbo.native import read_native
from methods.turbo.official import PEFT_ALPHA, UNET_GROUPS, VAE_PREFIXES, collect_adapters, read_official
from methods.turbo.vae import SkipVAE

METHOD = "cyclegan_turbo"


def load_generator(params: CycleGANTurboParams, uri: str) -> tuple[OneStepGenerator, Tensor]:
    """The generator of ``params.direction``, float32 on the CPU, and its caption embedding (1, L, D).

    Raises:
        InputError: weights that cannot be found or do not fit; file, found and expected are named.
    """
    path = store.fetch(uri)
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected an official .pkl or a .safetensors file")
    if is_safetensors(path):
        return _from_native(path, params)
    return _from_official(path, params)


def _from_native(path: Path, params: CycleGANTurboParams) -> tuple[OneStepGenerator, Tensor]:
    config, tensors = read_native(path, METHOD, only_vae=params.direction)
    if params.direction not in config.vaes:
        raise InputError(f"{path}: holds the directions {', '.join(config.vaes)}, expected {params.direction}")
    caption = params.caption or config.default_captions[params.direction]
    if caption not in config.captions:
        known = ", ".join(f"'{known}'" for known in config.captions)
        raise InputError(
            f"method.params.caption: {path} holds no embedding of the caption '{caption}', it has: {known}"
        )
    embedding = tensors[f"captions.{config.captions.index(caption)}"].float()[None]
    unet = build_unet(config.unet)
    vae = SkipVAE(config.vae)
    fill(unet, below(tensors, "unet."), f"{path} (unet)")
    fill(vae, below(tensors, f"{config.vaes[params.direction]}."), f"{path} ({config.vaes[params.direction]})")
    return OneStepGenerator(unet, vae, alpha_bar_of(config.scheduler)), embedding


def _from_official(path: Path, params: CycleGANTurboParams) -> tuple[OneStepGenerator, Tensor]:
    if params.caption is None:
        raise InputError(f"{path}: an official file stores no caption: set method.params.caption, or use a preset")
    state = read_official(path, METHOD)
    base = BaseModel(store.fetch(params.base))
    unet = base.unet()
    weights = dict(unet.state_dict())
    for key, listed in UNET_GROUPS.items():
        adapters = collect_adapters(state[key], state["rank_unet"], f"{path} ({key})", state.get(listed))
        # the UNet's alpha is its rank: scale 1
        merge_released(weights, adapters, 1.0, f"{path} ({key})", base.folder)
    unet.load_state_dict(weights)
    vae = SkipVAE(base.vae_config)
    fill(vae, _merged_vae(state, path, params.direction, base), f"{path} (sd_vae_dec)")
    return OneStepGenerator(unet, vae, base.alpha_bar), base.embed(params.caption)


def _merged_vae(state: Mapping, path: Path, direction: str, base: BaseModel) -> dict[str, Tensor]:
    """One VAE's weights with LoRA merged. ``sd_vae_dec`` wins, as the release loads it last into the same modules."""
    prefix = VAE_PREFIXES[direction]
    found = below({**state["sd_vae_enc"], **state["sd_vae_dec"]}, prefix)
    if not found:
        raise InputError(
            f"{path}: no weights under '{prefix}' in sd_vae_dec, expected the VAE of direction {direction}"
        )
    adapters = collect_adapters(found, state["rank_vae"], f"{path} (sd_vae_dec)")
    weights = {
        name.replace(".base_layer.", "."): tensor.float() for name, tensor in found.items() if ".lora_" not in name
    }
    merge_released(weights, adapters, PEFT_ALPHA / state["rank_vae"], f"{path} (sd_vae_dec)", base.folder)
    return weights
