"""Pixel-space denoisers from the files they are published in, their layout read from the tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from methods.counting import counted
from methods.errors import InputError
from methods.nn.ddpm_unet import DDPMConfig, DDPMUNet
from methods.nn.guided_unet import Encoded, GuidedUNet, UNetConfig
from methods.nn.tensor_file import fill, read_tensors

_LABELS = "label_emb.weight"


class Denoiser(Protocol):
    """What DDPM's and guided-diffusion's UNets have in common: h-space lies between ``encode`` and ``decode``."""

    def embed(self, timesteps: Tensor) -> Tensor:
        """(B, E) of (B,) timesteps: after the second linear layer, before any activation."""
        ...

    def encode(self, sample: Tensor, embedding: Tensor) -> Encoded:
        """The way down and the middle block."""
        ...

    def decode(self, encoded: Encoded, embedding: Tensor) -> Tensor:
        """The way up: (B, 3 or 6, H, W) float32, the noise first, then the variance if it is learned."""
        ...

    def cast_torso(self, dtype: torch.dtype) -> Any:
        """Run the convolutions in ``dtype``."""
        ...


def load_denoiser(
    path: Path, norm_num_groups: int = 32, num_head_channels: int = 64, *, class_conditional: bool = False
) -> DDPMUNet | GuidedUNet:
    """A denoiser, float32 on the CPU, from one of three kinds of files.

    Args:
        path: a DDPM checkpoint (``temb.dense.0.weight`` ...) or a guided-diffusion one (``time_embed.0.weight`` ...) as
            ``.pt``, ``.ckpt`` or ``.safetensors``; or a diffusers folder with a ``UNet2DModel``, itself or in ``unet``.
        norm_num_groups: groups of every GroupNorm; all published networks have 32.
        num_head_channels: channels per attention head in guided-diffusion files; all published ones have 64.
        class_conditional: whether a class-conditional UNet is taken too; it has ``config.num_classes``.

    Raises:
        InputError: file, found and expected are named.
    """
    if path.is_dir():
        return _from_diffusers(path)
    state = read_tensors(path)
    if "temb.dense.0.weight" in state:
        config = _ddpm_config(state, path, norm_num_groups)
        with torch.device("meta"):
            unet: DDPMUNet | GuidedUNet = DDPMUNet(config)
    elif "time_embed.0.weight" in state:
        if _LABELS in state and not class_conditional:
            raise InputError(
                f"{path}: found a class-conditional UNet ({counted(len(state[_LABELS]), 'class')}), "
                f"expected an unconditional one"
            )
        with torch.device("meta"):
            unet = GuidedUNet(_guided_config(state, path, norm_num_groups, num_head_channels))
    else:
        found = ", ".join(list(state)[:3])
        raise InputError(
            f"{path}: found {found}, expected a DDPM UNet (temb.dense.0.weight) or a guided-diffusion one "
            "(time_embed.0.weight)"
        )
    unet.to_empty(device="cpu")
    fill(unet, state, str(path))
    return unet.eval().requires_grad_(False)


def class_count(unet: DDPMUNet | GuidedUNet) -> int | None:
    """Classes of a class-conditional UNet; ``None`` for an unconditional one."""
    return unet.config.num_classes if isinstance(unet, GuidedUNet) else None


def out_channels(unet: DDPMUNet | GuidedUNet) -> int:
    """3, or 6 with a learned variance."""
    return unet.config.out_channels


def bottleneck_channels(unet: DDPMUNet | GuidedUNet) -> int:
    """Channels of h-space."""
    if isinstance(unet, DDPMUNet):
        return unet.config.widths[-1]
    return int(unet.config.channel_mult[-1] * unet.config.model_channels)


def _ddpm_config(state: Mapping[str, Tensor], path: Path, norm_num_groups: int) -> DDPMConfig:
    levels = 1 + _highest(state, r"down\.(\d+)\.block\.0\.conv1\.weight")
    blocks = 1 + _highest(state, r"down\.0\.block\.(\d+)\.conv1\.weight")
    try:
        channels = state["conv_in.weight"].shape[0]
        widths = [state[f"down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)]
        return DDPMConfig(
            in_channels=state["conv_in.weight"].shape[1],
            out_channels=state["conv_out.weight"].shape[0],
            channels=channels,
            channel_mult=tuple(width / channels for width in widths),
            num_res_blocks=blocks,
            attention_levels=tuple(level for level in range(levels) if f"down.{level}.attn.0.q.weight" in state),
            norm_num_groups=norm_num_groups,
        )
    except KeyError as error:
        raise InputError(f"{path}: '{error.args[0]}' missing, expected a DDPM UNet") from None


def _guided_config(state: Mapping[str, Tensor], path: Path, norm_num_groups: int, num_head_channels: int) -> UNetConfig:
    """Dimensions from the tensors: only the way up shows where the resolution changes."""
    outputs = 1 + _highest(state, r"output_blocks\.(\d+)\.0\.in_layers\.0\.weight")
    ups = {
        int(match[1])
        for name in state
        if (match := re.fullmatch(r"output_blocks\.(\d+)\.[12]\.(?:in_layers\.0|conv)\.weight", name))
    }
    levels = len(ups) + 1
    try:
        per_level = outputs // levels
        if outputs < levels or outputs % levels:
            raise KeyError("output_blocks")
        channels = state["time_embed.0.weight"].shape[1]
        # the first block of each level on the way up, coarsest first
        firsts = [level * per_level for level in range(levels)]
        widths = [state[f"output_blocks.{first}.0.out_layers.0.weight"].shape[0] for first in reversed(firsts)]
        attended = [f"output_blocks.{first}.1.qkv.weight" in state for first in reversed(firsts)]
        embedded = state["output_blocks.0.0.emb_layers.1.weight"].shape[0]
        return UNetConfig(
            in_channels=state["input_blocks.0.0.weight"].shape[1],
            out_channels=state["out.2.weight"].shape[0],
            model_channels=channels,
            channel_mult=tuple(width / channels for width in widths),
            num_res_blocks=per_level - 1,
            attention_downsample=tuple(2**level for level, there in enumerate(attended) if there),
            num_head_channels=num_head_channels,
            resblock_updown=any(".in_layers." in name for n in ups for name in state if _is_up(name, n)),
            norm_num_groups=norm_num_groups,
            num_classes=state[_LABELS].shape[0] if _LABELS in state else None,
            scale_shift_norm=embedded == 2 * state["output_blocks.0.0.out_layers.0.weight"].shape[0],
        )
    except KeyError as error:
        raise InputError(f"{path}: '{error.args[0]}' missing, expected a guided-diffusion UNet") from None


def _is_up(name: str, number: int) -> bool:
    return re.match(rf"output_blocks\.{number}\.[12]\.in_layers", name) is not None


def _highest(state: Mapping[str, Tensor], pattern: str) -> int:
    return max((int(match[1]) for name in state if (match := re.fullmatch(pattern, name))), default=-1)


def _from_diffusers(folder: Path) -> DDPMUNet:
    home = folder if (folder / "config.json").exists() else folder / "unet"
    try:
        config = json.loads((home / "config.json").read_text())
    except (OSError, ValueError):
        raise InputError(f"{folder}: found no config.json, expected a diffusers folder of a UNet2DModel") from None
    levels = len(config.get("block_out_channels", ()))
    blocks = set(config.get("down_block_types", ())) | set(config.get("up_block_types", ()))
    wanted = {
        "_class_name": "UNet2DModel",
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "downsample_padding": 0,
        "norm_eps": 1e-6,
    }
    for key, value in wanted.items():
        if config.get(key) != value:
            raise InputError(f"{home / 'config.json'}: {key} is {config.get(key)!r}, expected {value!r} as DDPM has")
    if not levels or not blocks <= {"DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"}:
        raise InputError(f"{home / 'config.json'}: block types {sorted(blocks)}, expected those of DDPM")
    files = [home / f"diffusion_pytorch_model.{ending}" for ending in ("safetensors", "bin")]
    weights = next((file for file in files if file.exists()), None)
    if weights is None:
        raise InputError(f"{home}: found no diffusion_pytorch_model.safetensors")
    state = {_from_diffusers_name(name, levels): tensor for name, tensor in read_tensors(weights).items()}
    for name, tensor in state.items():
        if re.search(r"attn[^.]*\.(\d\.)?(q|k|v|proj_out)\.weight", name) and tensor.dim() == 2:
            state[name] = tensor[:, :, None, None]
    unet = DDPMUNet(_ddpm_config(state, weights, int(config.get("norm_num_groups", 32))))
    fill(unet, state, str(weights))
    return unet.eval().requires_grad_(False)


_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
_MIDDLE = {"resnets.0": "block_1", "attentions.0": "attn_1", "resnets.1": "block_2"}


def _from_diffusers_name(name: str, levels: int) -> str:
    """DDPM's name of a tensor of UNet2DModel; both numberings of the way up are turned round."""
    if match := re.fullmatch(r"time_embedding\.linear_([12])\.(.*)", name):
        return f"temb.dense.{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(.*)", name):
        level = int(match[2]) if match[1] == "down" else levels - 1 - int(match[2])
        rest = re.sub(r"^resnets\.", "block.", re.sub(r"^attentions\.", "attn.", match[3]))
        rest = re.sub(r"^(down|up)samplers\.0\.", r"\1sample.", rest)
        name = f"{match[1]}.{level}.{rest}"
    elif match := re.fullmatch(r"mid_block\.(resnets\.0|attentions\.0|resnets\.1)\.(.*)", name):
        name = f"mid.{_MIDDLE[match[1]]}.{match[2]}"
    if ".attn" in name:
        for theirs, ours in _ATTENTION.items():
            name = name.replace(f".{theirs}.", f".{ours}.")
    name = name.replace("time_emb_proj", "temb_proj").replace("conv_shortcut", "nin_shortcut")
    return name.replace("conv_norm_out", "norm_out")
