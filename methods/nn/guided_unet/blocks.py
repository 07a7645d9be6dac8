"""ResBlock, attention and resampling of the guided-diffusion UNet, with the module names of its checkpoints."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Context = tuple[Tensor, Tensor]
"""Keys and values of the condition's tokens for one attention block, (B, heads, tokens, head channels) each."""

Resampling = Literal["up", "down"] | None


class GroupNorm(nn.GroupNorm):
    """eps 1e-5. Statistics are taken in float32 whatever the precision of the features."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__(groups, channels)

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype == self.weight.dtype:
            # torch accumulates half precision inputs in float32 by itself
            return super().forward(input)
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def zeroed(module: nn.Module) -> nn.Module:
    """``module`` with all parameters zero: a block that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def resample(features: Tensor, direction: Resampling) -> Tensor:
    """Mean of 2x2 pixels, or every pixel twice along both sides."""
    if direction == "down":
        return F.avg_pool2d(features, 2)
    if direction == "up":
        return F.interpolate(features, scale_factor=2, mode="nearest")
    return features


class ResBlock(nn.Module):
    """Two convolutions with the time embedding between them, and a skip; may resample both branches.

    (B, in_channels, H, W) and (B, embedding_channels) -> (B, out_channels, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        dropout: float,
        scale_shift_norm: bool,
        direction: Resampling = None,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.direction: Resampling = direction
        self.scale_shift_norm = scale_shift_norm
        self.in_layers = nn.Sequential(
            GroupNorm(in_channels, groups), nn.SiLU(), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        per_channel = 2 if scale_shift_norm else 1
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_channels, per_channel * out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm(out_channels, groups),
            nn.SiLU(),
            nn.Dropout(dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = in_channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        hidden = convolution(resample(activation(norm(features)), self.direction))
        features = resample(features, self.direction)
        shift = self.emb_layers(embedding).to(hidden.dtype)[:, :, None, None]
        norm, *rest = self.out_layers
        if self.scale_shift_norm:
            scale, shift = shift.chunk(2, dim=1)
            hidden = norm(hidden) * (1 + scale) + shift
        else:
            hidden = norm(hidden + shift)
        for layer in rest:
            hidden = layer(hidden)
        return self.skip_connection(features) + hidden


class AttentionBlock(nn.Module):
    """Attention of the pixels over the condition's tokens and themselves, in one softmax, with a skip.

    (B, channels, H, W) -> same. Heads are split first and [q|k|v] lie inside each head (the "legacy" order).
    """

    def __init__(self, channels: int, head_channels: int, encoder_channels: int | None, groups: int = 32) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = GroupNorm(channels, groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.encoder_kv = None if encoder_channels is None else nn.Conv1d(encoder_channels, 2 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        zeroed(self.proj_out)

    def context(self, tokens: Tensor) -> Context:
        """Keys and values of ``tokens`` (B, encoder_channels, T): a constant of the condition, not of the step."""
        assert self.encoder_kv is not None
        keys, values = self._heads(self.encoder_kv(tokens.to(self.encoder_kv.weight.dtype)), 2)
        return keys, values

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        flat = features.flatten(2)
        query, keys, values = self._heads(self.qkv(self.norm(flat)), 3)
        if context is not None:
            keys = torch.cat([context[0], keys], dim=2)
            values = torch.cat([context[1], values], dim=2)
        mixed = F.scaled_dot_product_attention(query, keys, values)
        mixed = mixed.transpose(2, 3).reshape(flat.shape)
        return (flat + self.proj_out(mixed)).view(features.shape)

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, heads * parts * c, T) -> ``parts`` tensors (B, heads, T, c), channels last as fused kernels ask for."""
        batch, channels, length = projected.shape
        split = projected.view(batch, self.heads, parts, channels // (self.heads * parts), length)
        return tuple(part.transpose(2, 3).contiguous() for part in split.unbind(2))


class Downsample(nn.Module):
    """Half the resolution without a ResBlock: a strided 3x3 convolution, or a 2x2 mean."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if convolve else nn.AvgPool2d(2)

    def forward(self, features: Tensor) -> Tensor:
        return self.op(features)


class Upsample(nn.Module):
    """Twice the resolution without a ResBlock: nearest, then a 3x3 convolution if wanted."""

    def __init__(self, channels: int, convolve: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if convolve else None

    def forward(self, features: Tensor) -> Tensor:
        features = resample(features, "up")
        return features if self.conv is None else self.conv(features)
