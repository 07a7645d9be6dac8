"""DeltaBlocks: the small networks that read the bottleneck and say how to shift it, in the release's two layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.asyrp.recorded_shift import RecordedShift, recorded_shift
from methods.errors import InputError
from methods.nn.tensor_file import fill, is_safetensors, read_pickle, read_tensors

DeltaBlock = nn.Module
"""(B, C, h, w) features and (B, E) time embedding before its activation -> (B, C, h, w) shift."""


class DDPMDeltaBlock(nn.Module):
    """For UNets of DDPM: 1x1 convolution, time term, norm, SiLU, 1x1 convolution; no residual.

    ``embedding`` is the UNet's time embedding before any activation; the block applies its own.
    """

    def __init__(
        self, channels: int, embedding_channels: int, groups: int = 32, ignore_timesteps: bool = False
    ) -> None:
        super().__init__()
        self.ignore_timesteps = ignore_timesteps
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.temb_proj = nn.Linear(embedding_channels, channels)
        self.norm2 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(features)
        if not self.ignore_timesteps:
            hidden = hidden + self.temb_proj(F.silu(embedding))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(hidden)))


class GuidedDeltaBlock(nn.Module):
    """For UNets of guided-diffusion: as :class:`DDPMDeltaBlock`, but it norms and activates first."""

    def __init__(
        self, channels: int, embedding_channels: int, groups: int = 32, ignore_timesteps: bool = False
    ) -> None:
        super().__init__()
        self.ignore_timesteps = ignore_timesteps
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, channels, 1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Identity(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.in_layers(features)
        if not self.ignore_timesteps:
            hidden = hidden + self.emb_layers(embedding)[:, :, None, None]
        return self.out_layers(hidden)


LAYOUTS: Mapping[str, type[DDPMDeltaBlock] | type[GuidedDeltaBlock]] = {
    "conv1.weight": DDPMDeltaBlock,
    "in_layers.2.weight": GuidedDeltaBlock,
}


def read_delta_block(
    path: Path,
    channels: int,
    index: int = 0,
    groups: int = 32,
    ignore_timesteps: bool = False,
    side: int | None = None,
) -> DeltaBlock | RecordedShift:
    """Block ``index`` of a file such as ``smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth``, float32 on the CPU.

    A file of shifts by timestep gives these (:mod:`methods.asyrp.recorded_shift`).

    Args:
        path: the release's format: a dictionary with a state dict under ``"0"`` (``"1"``, ... for more of them), beside
            optimizer and scheduler; or safetensors with one block's tensors.
        channels: of the UNet's bottleneck.
        groups: of its GroupNorms; 32 in every released file.
        side: of the UNet's bottleneck, for recorded shifts; ``None`` refuses them.

    Raises:
        InputError: another kind of file, another width, or no block of that number.
    """
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected a DeltaBlock file (.pth)")
    # a file of ours holds the one state dict and nothing beside it
    content: Any = {"0": read_tensors(path)} if is_safetensors(path) else read_pickle(path)
    blocks = [key for key in content if str(key).isdigit()] if isinstance(content, dict) else []
    if not blocks:
        found = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: found {found}, expected a DeltaBlock file with a state dict under '0'")
    if side is not None and any(isinstance(content[key], Tensor) for key in blocks):
        if index:
            raise InputError(f"{path}: holds shifts by timestep, which have no index: leave index out, found {index}")
        return recorded_shift(content, path, (channels, side, side), ignore_timesteps)
    key = next((key for key in blocks if int(key) == index), None)
    if key is None:
        raise InputError(f"{path}: holds the blocks {', '.join(map(str, blocks))}, expected one called {index}")
    state = content[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: '{key}' is no state dict of tensors")
    marker = next((name for name in LAYOUTS if name in state), None)
    if marker is None:
        raise InputError(f"{path}: found {', '.join(list(state)[:3])}, expected conv1.weight or in_layers.2.weight")
    width = state[marker].shape[0]
    if width != channels:
        raise InputError(
            f"{path}: the DeltaBlock is {width} channels wide, expected {channels} as the UNet's bottleneck"
        )
    name = "temb_proj.weight" if marker == "conv1.weight" else "emb_layers.1.weight"
    embedding = state[name].shape[-1] if name in state else 0
    block = LAYOUTS[marker](channels, embedding, groups, ignore_timesteps)
    fill(block, state, str(path))
    return block.eval().requires_grad_(False)


def save_delta_block(path: Path, block: DeltaBlock, optimizer: Mapping[str, Any], scheduler: Mapping[str, Any]) -> Path:
    """Write ``block`` as the release does: under ``"0"``, beside optimizer and scheduler states."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in block.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"0": state, "optimizer": dict(optimizer), "scheduler": dict(scheduler)}, path)
    return path
