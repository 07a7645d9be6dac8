"""The networks of a Turbo training: built from a base or a released model, with LoRA inserted, merged and exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from methods import weights as store
from methods.counting import counted
from methods.errors import InputError
from methods.nn.tensor_file import below, fill, is_safetensors
from methods.train.turbo.mini_networks import SCHEDULER, mini_caption, mini_unet, mini_vae
from methods.turbo.base_model import BaseModel
from methods.turbo.captions import Captions
from methods.turbo.generator import alpha_bar_of, build_unet
from methods.turbo.lora import merge_lora
from methods.turbo.native import read_native
from methods.turbo.official import PEFT_ALPHA, collect_adapters
from methods.turbo.vae import SkipVAE

UNET_TARGETS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
    "conv",
    "conv1",
    "conv2",
    "conv_shortcut",
    "conv_out",
    "proj_in",
    "proj_out",
    "ff.net.2",
    "ff.net.0.proj",
)
VAE_TARGETS = (
    "conv1",
    "conv2",
    "conv_in",
    "conv_shortcut",
    "conv",
    "conv_out",
    "skip_conv_1",
    "skip_conv_2",
    "skip_conv_3",
    "skip_conv_4",
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
)
UNET_ADAPTER, VAE_ADAPTER = "default", "vae_skip"


@dataclass
class Parts:
    """Base networks before anything is adapted, float32, on the CPU.

    Attributes:
        unet, vaes: fresh copies; ``vaes`` by name.
        scheduler: diffusers configuration.
        captions: embeds texts.
        first_layer: weight and bias of the UNet's ``conv_in`` before training.
    """

    unet: UNet2DConditionModel
    vaes: dict[str, SkipVAE]
    scheduler: dict[str, Any]
    captions: Captions

    def __post_init__(self) -> None:
        """Keep the first UNet layer as it is before training: it is trained in full, and files need its change."""
        layer = self.unet.conv_in
        assert layer.bias is not None
        self.first_layer = (layer.weight.detach().clone(), layer.bias.detach().clone())

    @property
    def alpha_bar(self) -> float:
        """Cumulative alpha at t = 999."""
        return alpha_bar_of(self.scheduler)


def base_parts(base: str, vaes: Sequence[str]) -> Parts:
    """From an SD-Turbo folder; skip convolutions at their initial 1e-5. Raises InputError."""
    model = BaseModel(store.fetch(base))
    weights = model.vae_weights()

    def vae() -> SkipVAE:
        made = SkipVAE(model.vae_config)
        skips = {name: value for name, value in made.state_dict().items() if "skip_conv" in name}
        fill(made, {**weights, **skips}, f"{model.folder / 'vae'}")
        return made

    captions = Captions({}, model, str(model.folder), torch.device("cpu"))
    return Parts(model.unet(), {name: vae() for name in vaes}, model.scheduler_config, captions)


def native_parts(path: Path, method: str, vaes: Mapping[str, str], base: str) -> Parts:
    """From one of our files; ``vaes`` maps the names wanted to the file's directions. Raises InputError."""
    config, tensors = read_native(path, method)
    if "twin.weight" in tensors:
        raise InputError(f"{path}: holds stochastic weights: start from the official .pkl of the same training instead")
    unet = build_unet(config.unet)
    fill(unet, below(tensors, "unet."), f"{path} (unet)")
    made: dict[str, SkipVAE] = {}
    for name, direction in vaes.items():
        if direction not in config.vaes:
            raise InputError(f"{path}: holds the directions {', '.join(config.vaes)}, expected {direction}")
        made[name] = SkipVAE(config.vae)
        fill(made[name], below(tensors, f"{config.vaes[direction]}."), f"{path} ({config.vaes[direction]})")
    stored = {caption: tensors[f"captions.{number}"] for number, caption in enumerate(config.captions)}
    model = None if stored else BaseModel(store.fetch(base))
    captions = Captions(stored, model, str(path), torch.device("cpu"))
    return Parts(unet, made, dict(config.scheduler), captions)


def mini_parts(vaes: Sequence[str], captions: Mapping[str, str]) -> Parts:
    """Small networks with fresh weights; ``captions`` by VAE name."""
    unet, made = mini_unet(), {name: mini_vae() for name in vaes}
    stored = {captions[name]: mini_caption(captions[name]) for name in vaes}
    return Parts(unet, made, SCHEDULER, Captions(stored, None, "the mini networks", torch.device("cpu")))


def start_kind(start: str | None) -> tuple[str, Path | None]:
    """``none``, ``native`` or ``official``, and the file. Raises InputError."""
    if start is None:
        return "none", None
    path = store.fetch(start)
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected an official .pkl or a .safetensors file to start from")
    return ("native" if is_safetensors(path) else "official"), path


def add_lora(network: nn.Module, targets: Sequence[str], rank: int, alpha: int, adapter: str) -> None:
    """Freeze ``network`` and put LoRA into its target modules: A gaussian with standard deviation 1 / r, B zero."""
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(targets))
    network.requires_grad_(False)
    inject_adapter_in_model(config, network, adapter)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def load_lora(network: nn.Module, tensors: Mapping[str, Tensor], rank: int, adapter: str, where: str) -> None:
    """Put released LoRA weights (with or without adapter name) into an adapted network.

    Raises:
        InputError: weights missing, of another rank or shape, or for modules that are not adapted.
    """
    own = {name: value for name, value in network.state_dict().items() if ".lora_" in name}
    given = {
        f"{module}.{half}.{adapter}.weight": pair[number]
        for module, pair in collect_adapters(tensors, rank, where).items()
        for number, half in enumerate(("lora_A", "lora_B"))
    }
    lost, extra = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if lost or extra:
        name = (lost or extra)[0].partition(".lora_")[0]
        what = "missing for" if lost else "not expected for"
        raise InputError(f"{where}: LoRA weights {what} {name} ({counted(len(lost) + len(extra), 'tensor')})")
    for name, value in given.items():
        if value.shape != own[name].shape:
            raise InputError(f"{where}: '{name}' is {tuple(value.shape)}, expected {tuple(own[name].shape)}")
        with torch.no_grad():
            own[name].copy_(value)


def merged(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Plain weights from an adapted network's state dictionary: LoRA merged, without the names that PEFT adds."""
    weights = {
        name.replace(".base_layer.", "."): value.float().cpu() for name, value in state.items() if ".lora_" not in name
    }
    adapters = {m: (a.cpu(), b.cpu()) for m, (a, b) in collect_adapters(state, None, "training").items()}
    merge_lora(weights, adapters, scale)
    return weights


def overlaid(network: nn.Module, averaged: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A network's state with the averaged weights in place of its own."""
    return {**network.state_dict(), **(averaged or {})}


def vae_scale(rank: int) -> float:
    """alpha / r of the VAEs' LoRA: alpha is PEFT's default 8."""
    return PEFT_ALPHA / rank


def set_checkpointing(unet: UNet2DConditionModel, vaes: Sequence[SkipVAE], on: bool) -> None:
    """Turn gradient checkpointing on or off."""
    if on:
        unet.enable_gradient_checkpointing()
    for vae in vaes:
        vae.checkpointing = on


def frozen_for(network: nn.Module) -> Callable[[], None]:
    """Stop gradients into a network's parameters; the function returned undoes it."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)

    def undo() -> None:
        for parameter in trained:
            parameter.requires_grad_(True)

    return undo


def kept_state(network: nn.Module) -> dict[str, Tensor]:
    """What of a network changes in training: trained parameters and buffers."""
    trained = {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}
    return trained | dict(network.named_buffers())


def restore(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Put back what :func:`kept_state` gave. Raises InputError when the network is another."""
    own = kept_state(network)
    for key, value in own.items():
        if key not in state or state[key].shape != value.shape:
            raise InputError(f"checkpoint: '{name}.{key}' is missing or has another shape: another spec made it")
        with torch.no_grad():
            value.copy_(state[key])
