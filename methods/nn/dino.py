"""DINO's vision transformer (Caron et al., arXiv 2104.14294): the keys of its last block and its class token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.errors import InputError
from methods.nn.clip import MEAN as CLIP_MEAN
from methods.nn.clip import STD as CLIP_STD
from methods.nn.tensor_file import fill, read_tensors

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_EPS = 1e-6
_CLIP_EPS = 1e-5
_HEAD = 64


class DinoFeatures(NamedTuple):
    """Of B pictures.

    Attributes:
        keys: (B, 1 + patches, width): the last block's keys, heads side by side; the class token's is the first.
        cls: (B, width): the class token after the last block, before the final norm.
    """

    keys: Tensor
    cls: Tensor


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed tokens, and the keys (B, N, width)."""
        batch, length, width = tokens.shape
        projected = self.qkv(tokens)
        query, keys, values = projected.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, keys, values)
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape)), projected[..., width : 2 * width]


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, quick: bool) -> None:
        super().__init__()
        self.quick = quick
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.fc1(tokens)
        # OpenAI's CLIP was trained with this approximation
        return self.fc2(hidden * torch.sigmoid(1.702 * hidden) if self.quick else F.gelu(hidden))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, eps: float, quick: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, hidden, quick)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mixed, keys = self.attn(self.norm1(tokens))
        tokens = tokens + mixed
        return tokens + self.mlp(self.norm2(tokens)), keys


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class Dino(nn.Module):
    """(B, 3, H, W) in [-1, 1], nothing clamped -> :class:`DinoFeatures`.

    Pictures are resized to the side the network was trained on (224 for ViT-B/8): bilinear without antialias, as the
    torchvision of DiffuseIT's release did with tensors. ``state_dict`` has the official names.

    ``of_clip`` makes the same of a CLIP's picture tower: a norm before the first block, its own activation and colours.
    """

    def __init__(
        self, width: int, depth: int, heads: int, hidden: int, patch: int, side: int, of_clip: bool = False
    ) -> None:
        super().__init__()
        eps = _CLIP_EPS if of_clip else _EPS
        self.side = side
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (side // patch) ** 2, width))
        self.patch_embed = _PatchEmbedding(width, patch)
        self.norm_pre = nn.LayerNorm(width, eps=eps) if of_clip else nn.Identity()
        self.blocks = nn.ModuleList([_Block(width, heads, hidden, eps, of_clip) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=eps)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(CLIP_MEAN if of_clip else _MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD if of_clip else _STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> DinoFeatures:
        unit = images * 0.5 + 0.5
        unit = F.interpolate(unit, (self.side, self.side), mode="bilinear", align_corners=False, antialias=False)
        patches = self.patch_embed.proj((unit - self.mean) / self.std).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        tokens = self.norm_pre(tokens)
        keys = tokens
        for block in self.blocks:
            tokens, keys = block(tokens)
        return DinoFeatures(keys, tokens[:, 0])


def load_dino(path: Path, heads: int | None = None) -> Dino:
    """A frozen DINO in float32 on the CPU.

    Args:
        path: official weights (``dino_vitbase8_pretrain.pth``), or a transformers ``ViTModel``: a file
            of safetensors or ``.bin``, or a folder with one; or a CLIP in OpenAI's layout, for its picture tower.
        heads: attention heads; none is one per 64 channels, as in all released models.

    Raises:
        InputError: another kind of file, or tensors that do not fit; found and expected are named.
    """
    if path.is_dir():
        candidates = [path / "model.safetensors", path / "pytorch_model.bin"]
        path = next((file for file in candidates if file.exists()), candidates[0])
        if not path.exists():
            raise InputError(f"{path.parent}: found no model.safetensors, expected a transformers ViTModel")
    state = read_tensors(path)
    if "embeddings.cls_token" in state or "vit.embeddings.cls_token" in state:
        state = _from_transformers(state, path)
    of_clip = _CLIP + "conv1.weight" in state
    if of_clip:
        state = _from_clip(state, path)
    try:
        width, channels, patch, _ = state["patch_embed.proj.weight"].shape
        hidden = state["blocks.0.mlp.fc1.weight"].shape[0]
        grid = round((state["pos_embed"].shape[1] - 1) ** 0.5)
    except (KeyError, ValueError):
        found = ", ".join(list(state)[:3])
        raise InputError(f"{path}: found {found}, expected a DINO ViT (patch_embed.proj.weight, blocks.0...)") from None
    depth = 1 + max(int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name)))
    if channels != 3 or width % (heads or _HEAD):
        raise InputError(
            f"{path}: {width} wide with {channels} channels in, expected 3 in and a multiple of {_HEAD} wide"
        )
    with torch.device("meta"):
        dino = Dino(width, depth, heads or width // _HEAD, hidden, patch, grid * patch, of_clip)
    dino.to_empty(device="cpu")
    # the two buffers are constants that no file holds
    dino.mean.copy_(torch.tensor(CLIP_MEAN if of_clip else _MEAN).view(1, 3, 1, 1))
    dino.std.copy_(torch.tensor(CLIP_STD if of_clip else _STD).view(1, 3, 1, 1))
    fill(dino, state, str(path))
    return dino.eval().requires_grad_(False)


_CLIP = "visual."
_CLIP_NAMES = (
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("conv1.weight", "patch_embed.proj.weight"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("transformer.resblocks.", "blocks."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def _from_clip(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Official names for the picture tower of a CLIP. Raises InputError: it is no transformer."""
    if _CLIP + "proj" not in state:
        raise InputError(f"{path}: found a CLIP with a ResNet, expected one with a vision transformer")
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith(_CLIP) or name == _CLIP + "proj":
            continue
        new = name.removeprefix(_CLIP)
        for old, official in _CLIP_NAMES:
            new = new.replace(old, official)
        renamed[new] = tensor
    renamed["cls_token"] = renamed["cls_token"].view(1, 1, -1)
    renamed["pos_embed"] = renamed["pos_embed"][None]
    # CLIP's patches have no bias
    renamed["patch_embed.proj.bias"] = torch.zeros(len(renamed["cls_token"].flatten()))
    return renamed


_TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.(?:attention\.)?(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1_proj."),
)
_QKV = ((".attn.query.", ".attn.key.", ".attn.value."), (".attn.q_proj.", ".attn.k_proj.", ".attn.v_proj."))


def _from_transformers(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Official names; query, key and value become one projection; a pooler, which DINO has not, is left out."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = name.removeprefix("vit.")
        if new.startswith("pooler."):
            continue
        for pattern, replacement in _TRANSFORMERS:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    for names in _QKV:
        for first in [name for name in renamed if names[0] in name]:
            parts = [first.replace(names[0], part) for part in names]
            missing = [part for part in parts if part not in renamed]
            if missing:
                raise InputError(f"{path}: '{missing[0]}' missing, expected query, key and value of every layer")
            renamed[first.replace(names[0], ".attn.qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed
