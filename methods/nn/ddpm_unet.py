"""The UNet of DDPM (Ho et al., arXiv 2006.11239, appendix B) with the key names of its PyTorch checkpoints.

These are the checkpoints of SDEdit and Asyrp (CelebA-HQ, LSUN church and bedroom at 256 px), and after renaming those
of diffusers' ``UNet2DModel`` such as ``google/ddpm-church-256``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.nn.guided_unet import Encoded


@dataclass(frozen=True)
class DDPMConfig:
    """Dimensions of a DDPM UNet.

    Attributes:
        in_channels, out_channels: 3 and 3; the network predicts the noise alone.
        channels: width of the first level.
        channel_mult: width of each level in units of ``channels``.
        num_res_blocks: blocks per level on the way down; one more on the way up.
        attention_levels: levels (0 is full resolution) whose blocks are followed by attention.
        norm_num_groups: groups of every GroupNorm; not readable from a checkpoint.
    """

    in_channels: int = 3
    out_channels: int = 3
    channels: int = 128
    channel_mult: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (4,)
    norm_num_groups: int = 32

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(multiple * self.channels) for multiple in self.channel_mult)

    @property
    def factor(self) -> int:
        """The sides of an input must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)


class _ResnetBlock(nn.Module):
    def __init__(self, config: DDPMConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.temb_proj = nn.Linear(4 * config.channels, out_channels)
        self.norm2 = _norm(config, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(features)))
        hidden = hidden + self.temb_proj(F.silu(embedding))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return (features if self.nin_shortcut is None else self.nin_shortcut(features)) + hidden


class _AttentionBlock(nn.Module):
    """One head over all pixels."""

    def __init__(self, config: DDPMConfig, channels: int) -> None:
        super().__init__()
        self.norm = _norm(config, channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, features: Tensor) -> Tensor:
        normed = self.norm(features)
        query, keys, values = (part(normed).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(query, keys, values)[:, 0]
        return features + self.proj_out(mixed.transpose(1, 2).reshape(features.shape))


class _Resample(nn.Module):
    """Half or twice the resolution, with a convolution called ``conv``."""

    def __init__(self, channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(channels, channels, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, features: Tensor) -> Tensor:
        if self.down:
            # the checkpoints were trained with padding on the right and at the bottom only
            return self.conv(F.pad(features, (0, 1, 0, 1)))
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))


class _Level(nn.Module):
    """Blocks of one resolution, their attention, and the step to the next resolution."""

    def __init__(self, config: DDPMConfig, widths: list[tuple[int, int]], attention: bool, step: str | None) -> None:
        super().__init__()
        self.block = nn.ModuleList([_ResnetBlock(config, into, out) for into, out in widths])
        self.attn = nn.ModuleList([_AttentionBlock(config, out) for _, out in widths] if attention else [])
        self.downsample = _Resample(widths[-1][1], True) if step == "down" else None
        self.upsample = _Resample(widths[-1][1], False) if step == "up" else None

    def apply_block(self, number: int, features: Tensor, embedding: Tensor) -> Tensor:
        features = self.block[number](features, embedding)
        return self.attn[number](features) if len(self.attn) else features


class _Middle(nn.Module):
    def __init__(self, config: DDPMConfig, channels: int) -> None:
        super().__init__()
        self.block_1 = _ResnetBlock(config, channels, channels)
        self.attn_1 = _AttentionBlock(config, channels)
        self.block_2 = _ResnetBlock(config, channels, channels)


class _TimeEmbedding(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, 4 * channels)])


class DDPMUNet(nn.Module):
    """(B, 3, H, W) noisy picture and timesteps 0..999 -> (B, 3, H, W) predicted noise.

    Encoder and decoder are callable separately, as those of :class:`methods.nn.guided_unet.GuidedUNet`.
    """

    def __init__(self, config: DDPMConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        last = len(widths) - 1
        self.temb = _TimeEmbedding(config.channels)
        self.conv_in = nn.Conv2d(config.in_channels, config.channels, 3, padding=1)
        skips, into = [config.channels], config.channels
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            pairs = [(into if block == 0 else width, width) for block in range(config.num_res_blocks)]
            self.down.append(_Level(config, pairs, level in config.attention_levels, "down" if level < last else None))
            skips += [width] * (config.num_res_blocks + (level < last))
            into = width
        self.mid = _Middle(config, into)
        levels: list[nn.Module] = []
        for level, width in reversed(list(enumerate(widths))):
            pairs = []
            for _ in range(config.num_res_blocks + 1):
                pairs.append((into + skips.pop(), width))
                into = width
            levels.append(_Level(config, pairs, level in config.attention_levels, "up" if level else None))
        # checkpoints number the way up as the way down: up.0 is full resolution
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = _norm(config, into)
        self.conv_out = nn.Conv2d(into, config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timesteps: Tensor) -> Tensor:
        """Predicted noise in float32."""
        embedding = self.embed(timesteps)
        return self.decode(self.encode(sample, embedding), embedding)

    def embed(self, timesteps: Tensor) -> Tensor:
        """(B, 4 * channels) of (B,) timesteps: after the second linear layer, before any activation."""
        half = self.config.channels // 2
        # the divisor is half - 1 here; guided-diffusion has half, and cosines first
        steps = torch.arange(half, dtype=torch.float32, device=timesteps.device) * (-math.log(10_000) / (half - 1))
        angles = timesteps.float()[:, None] * steps.exp()
        first, second = self.temb.dense
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.conv_in.weight.dtype)
        return second(F.silu(first(waves)))

    def encode(self, sample: Tensor, embedding: Tensor) -> Encoded:
        """The way down and the middle block."""
        features = self.conv_in(sample.to(self.conv_in.weight.dtype))
        skips = [features]
        for level in self.down:
            assert isinstance(level, _Level)
            for number in range(len(level.block)):
                features = level.apply_block(number, features, embedding)
                skips.append(features)
            if level.downsample is not None:
                features = level.downsample(features)
                skips.append(features)
        features = self.mid.attn_1(self.mid.block_1(features, embedding))
        return Encoded(self.mid.block_2(features, embedding), tuple(skips))

    def decode(self, encoded: Encoded, embedding: Tensor) -> Tensor:
        """The way up, from a bottleneck that may have been changed since :meth:`encode`; float32."""
        features, skips = encoded.bottleneck, list(encoded.skips)
        for level in reversed(list(self.up)):
            assert isinstance(level, _Level)
            for number in range(len(level.block)):
                features = level.apply_block(number, torch.cat([features, skips.pop()], dim=1), embedding)
            if level.upsample is not None:
                features = level.upsample(features)
        return self.conv_out(F.silu(self.norm_out(features))).float()

    def cast_torso(self, dtype: torch.dtype) -> DDPMUNet:
        """Cast the whole network; timesteps are embedded in float32 before; returns itself."""
        return self.to(dtype)


def _norm(config: DDPMConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)
