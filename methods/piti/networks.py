"""PITI's networks: the condition encoder, and GLIDE's UNet with the encoder's tokens in place of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.nn.guided_unet import GuidedUNet
from methods.nn.guided_unet.blocks import Context
from methods.piti.config import CONDITION_SIZE, EncoderConfig, ModelConfig

STRIDE = 16
_STD = 0.02


@dataclass(frozen=True)
class EncodedCondition:
    """An encoded condition, ready for every step of a sampler.

    Attributes:
        pooled: (B, embedding channels), added to the time embedding.
        context: keys and values of its 256 tokens for each attention block of the UNet.
    """

    pooled: Tensor
    context: tuple[Context, ...]

    def __len__(self) -> int:
        return self.pooled.shape[0]

    def expand(self, batch: int) -> EncodedCondition:
        """A single condition standing for ``batch`` of them, without copies."""
        return EncodedCondition(
            self.pooled.expand(batch, -1),
            tuple((k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in self.context),
        )

    @staticmethod
    def join(parts: Sequence[EncodedCondition]) -> EncodedCondition:
        """One batch of several."""
        pairs = zip(*(part.context for part in parts), strict=True)
        return EncodedCondition(
            torch.cat([part.pooled for part in parts]),
            tuple((torch.cat([k for k, _ in pair]), torch.cat([v for _, v in pair])) for pair in pairs),
        )


class PITIModel(nn.Module):
    """One stage: ``encoder`` and ``decoder``, with the key names of the release."""

    def __init__(self, config: ModelConfig, condition_channels: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConditionEncoder(config.encoder, condition_channels)
        self.decoder = Decoder(config)

    def encode(self, condition: Tensor) -> EncodedCondition:
        """(B, C, 256, 256) in [-1, 1] -> what the UNet wants of it."""
        pooled, tokens = self.encoder(condition)
        return EncodedCondition(self.decoder.transformer_proj(pooled), self.decoder.context(tokens))

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: EncodedCondition) -> tuple[Tensor, Tensor]:
        """(noise, variance interpolation), (B, 3, H, W) float32 each; an upsampler is fed the small picture as well."""
        answer = self.decoder(noisy, timesteps, condition.context, condition.pooled)
        noise, interpolation = answer.chunk(2, dim=1)
        return noise, interpolation

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`denoise` from a condition picture, for training."""
        return self.denoise(noisy, timesteps, self.encode(condition))


class Decoder(GuidedUNet):
    """The UNet, and the projection of the pooled token onto its time embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.unet)
        self.transformer_proj = nn.Linear(config.encoder.width, config.unet.embedding_channels)


class ConditionEncoder(nn.Module):
    """(B, C, 256, 256) -> pooled token (B, width) and tokens (B, width, 256)."""

    def __init__(self, config: EncoderConfig, condition_channels: int) -> None:
        super().__init__()
        tokens = (CONDITION_SIZE // STRIDE) ** 2
        self.cnn = _Stem(config, condition_channels)
        self.transformer = _Transformer(config)
        self.final_ln = nn.LayerNorm(config.width)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * _STD)
        self.positional_embedding = nn.Parameter(torch.randn(1, tokens + 1, config.width) * _STD)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.cnn(condition).flatten(2).transpose(1, 2)
        # row 0 of the table belongs to the pooled token, which stands last
        patches = patches + self.positional_embedding[:, 1:]
        pooled = (self.cls_token + self.positional_embedding[:, :1]).expand(len(patches), -1, -1)
        tokens = self.final_ln(self.transformer(torch.cat([patches, pooled], dim=1)))
        return tokens[:, -1], tokens[:, :-1].transpose(1, 2)


class _Stem(nn.Module):
    def __init__(self, config: EncoderConfig, condition_channels: int) -> None:
        super().__init__()
        first, *rest = config.channels
        self.conv1 = nn.Conv2d(condition_channels, first, 7, padding=3)
        self.norm1 = nn.InstanceNorm2d(first, affine=True)
        for number, channels in enumerate(rest, start=2):
            self.add_module(f"conv{number}", nn.Conv2d(config.channels[number - 2], channels, 3, stride=2, padding=1))
            self.add_module(f"norm{number}", nn.InstanceNorm2d(channels, affine=True))
        self.conv6 = nn.Conv2d(config.channels[-1], config.width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        for number in range(1, 6):
            features = self.get_submodule(f"conv{number}")(features)
            features = F.leaky_relu(self.get_submodule(f"norm{number}")(features), 0.2)
        return self.conv6(features)


class _Transformer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Layer(config.width, config.heads) for _ in range(config.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.resblocks:
            tokens = block(tokens)
        return tokens


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = _Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = _Feedforward(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class _Feedforward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(tokens)))


class _Attention(nn.Module):
    """Heads are split first and [q|k|v] lie inside each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        split = self.c_qkv(tokens).view(batch, length, self.heads, 3, width // self.heads)
        query, keys, values = split.permute(3, 0, 2, 1, 4)
        mixed = F.scaled_dot_product_attention(query, keys, values)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
