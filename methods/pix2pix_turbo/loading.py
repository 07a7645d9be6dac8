"""Building pix2pix-Turbo's generator from an official file or one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError
from methods.nn.tensor_file import below, fill, is_safetensors
from methods.pix2pix_turbo.params import Pix2PixTurboParams
from methods.turbo.base_model import BaseModel
from methods.turbo.captions import Captions
from methods.turbo.generator import OneStepGenerator, alpha_bar_of, build_unet
from methods.turbo.lora import merge_released
from methods.turbo.native import read_native
from methods.turbo.official import (
    PEFT_ALPHA,
    PRETRAINED_LAYER,
    TRAINED_LAYER,
    Adapters,
    collect_adapters,
    read_official,
)
from methods.turbo.vae import SkipVAE

METHOD = "pix2pix_turbo"
DIRECTION = "translate"


@dataclass(frozen=True)
class LoadedTurbo:
    """Float32, on the CPU.

    Attributes:
        generator: LoRA merged when the weights are deterministic, left out when they are stochastic.
        captions: embeds texts.
        caption: the one the weights were trained with, if they name one.
        adapters: stochastic weights only: (A, B) by module, alpha / r multiplied into B.
        pretrained: stochastic weights only: the base model's first UNet layer.
    """

    generator: OneStepGenerator
    captions: Captions
    caption: str | None = None
    adapters: Adapters | None = None
    pretrained: tuple[Tensor, Tensor] | None = None


def load_weights(params: Pix2PixTurboParams, uri: str) -> LoadedTurbo:
    """Read an official ``.pkl`` over ``params.base``, or one of our ``.safetensors``.

    Raises:
        InputError: weights that cannot be found or do not fit; file, found and expected are named.
    """
    path = store.fetch(uri)
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected an official .pkl or a .safetensors file")
    return _from_native(path, params) if is_safetensors(path) else _from_official(path, params)


def _from_native(path: Path, params: Pix2PixTurboParams) -> LoadedTurbo:
    config, tensors = read_native(path, METHOD)
    unet, vae = build_unet(config.unet), SkipVAE(config.vae)
    fill(unet, below(tensors, "unet."), f"{path} (unet)")
    fill(vae, below(tensors, f"{config.vaes[DIRECTION]}."), f"{path} (vae)")
    stored = {caption: tensors[f"captions.{number}"] for number, caption in enumerate(config.captions)}
    default = config.default_captions.get(DIRECTION)
    # a file with captions needs no base; for one without, params.base has the text encoder
    base = None if stored else BaseModel(store.fetch(params.base))
    captions = Captions(stored, base, str(path), torch.device("cpu"))
    generator = OneStepGenerator(unet, vae, alpha_bar_of(config.scheduler))
    if "twin.weight" not in tensors:
        return LoadedTurbo(generator, captions, default)
    adapters = collect_adapters(below(tensors, "lora."), None, f"{path} (lora)")
    return LoadedTurbo(generator, captions, default, adapters, (tensors["twin.weight"], tensors["twin.bias"]))


def _from_official(path: Path, params: Pix2PixTurboParams) -> LoadedTurbo:
    state = read_official(path, METHOD)
    base = BaseModel(store.fetch(params.base))
    unet, vae = base.unet(), SkipVAE(base.vae_config)
    fill_vae(vae, base, state["state_dict_vae"], f"{path} (state_dict_vae)")
    unet_adapters = _adapters(state, "unet", unet, path)
    vae_adapters = _adapters(state, "vae", vae, path)
    twin = any(name.startswith("conv_in.conv_in_") for name in state["state_dict_unet"])
    pretrained = _layer(state["state_dict_unet"], PRETRAINED_LAYER, unet, path) if twin else None
    trained = _layer(state["state_dict_unet"], TRAINED_LAYER if twin else "conv_in", unet, path)
    unet_weights, vae_weights = dict(unet.state_dict()), dict(vae.state_dict())
    unet_weights["conv_in.weight"], unet_weights["conv_in.bias"] = trained
    scales = PEFT_ALPHA / state["rank_unet"], PEFT_ALPHA / state["rank_vae"]
    merge_released(unet_weights, unet_adapters, scales[0], f"{path} (state_dict_unet)", base.folder)
    merge_released(vae_weights, vae_adapters, scales[1], f"{path} (state_dict_vae)", base.folder)
    generator = OneStepGenerator(unet, vae, base.alpha_bar)
    captions = Captions({}, base, str(path), torch.device("cpu"))
    if pretrained is None:
        unet.load_state_dict(unet_weights)
        vae.load_state_dict(vae_weights)
        return LoadedTurbo(generator, captions)
    # the merge above was the check that everything fits; stochastic weights are merged for each gamma
    unet.load_state_dict({**unet.state_dict(), **dict(zip(("conv_in.weight", "conv_in.bias"), trained, strict=True))})
    scaled = {f"unet.{name}": (a.float(), scales[0] * b.float()) for name, (a, b) in unet_adapters.items()}
    scaled |= {f"vae.{name}": (a.float(), scales[1] * b.float()) for name, (a, b) in vae_adapters.items()}
    return LoadedTurbo(generator, captions, None, scaled, pretrained)


def fill_vae(vae: SkipVAE, base: BaseModel, trained: Mapping[str, Tensor], where: str) -> None:
    """The base VAE's weights, and the skip convolutions' from an official file. Raises InputError."""
    weights = base.vae_weights()
    for number in range(1, vae.skip_count + 1):
        # PEFT wraps a convolution and calls the original weight base_layer
        name = f"decoder.skip_conv_{number}"
        found = trained.get(f"{name}.base_layer.weight", trained.get(f"{name}.weight"))
        if found is None:
            raise InputError(f"{where}: '{name}.base_layer.weight' missing, expected the four skip convolutions")
        weights[f"{name}.weight"] = found
    fill(vae, weights, where)


def _adapters(state: Mapping, part: str, network: nn.Module, path: Path) -> Adapters:
    """One network's adapters; every module the file's target list names must have one."""
    where = f"{path} (state_dict_{part})"
    targets = state.get(f"{part}_lora_target_modules") or ()
    expected = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and any(name == t or name.endswith(f".{t}") for t in targets)
    ]
    return collect_adapters(state[f"state_dict_{part}"], state[f"rank_{part}"], where, expected)


def _layer(state: Mapping[str, Tensor], name: str, unet: nn.Module, path: Path) -> tuple[Tensor, Tensor]:
    """Weight and bias of a first UNet layer that the file holds in full."""
    found = []
    for part in ("weight", "bias"):
        wanted = unet.get_parameter(f"conv_in.{part}").shape
        tensor = state.get(f"{name}.{part}")
        if tensor is None:
            raise InputError(f"{path} (state_dict_unet): '{name}.{part}' missing, expected the trained first layer")
        if tensor.shape != wanted:
            raise InputError(
                f"{path} (state_dict_unet): '{name}.{part}' is {tuple(tensor.shape)}, "
                f"the base model's is {tuple(wanted)}"
            )
        found.append(tensor.float())
    return found[0], found[1]
