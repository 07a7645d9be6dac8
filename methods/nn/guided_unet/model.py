"""The guided-diffusion UNet: encoder, bottleneck and decoder callable separately, conditions passed as values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.nn.guided_unet.blocks import (
    AttentionBlock,
    Context,
    Downsample,
    GroupNorm,
    Resampling,
    ResBlock,
    Upsample,
    zeroed,
)
from methods.nn.guided_unet.config import UNetConfig


@dataclass(frozen=True)
class Encoded:
    """What the way down leaves: the bottleneck (B, C, h, w) after the middle block, and the skips, first one first."""

    bottleneck: Tensor
    skips: tuple[Tensor, ...]


class GuidedUNet(nn.Module):
    """(B, in_channels, H, W) noisy picture and original timesteps (0..999) -> (B, out_channels, H, W).

    ``state_dict`` has the key names and shapes of the official checkpoints of guided-diffusion and GLIDE.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        emb = config.embedding_channels
        self.time_embed = nn.Sequential(nn.Linear(config.model_channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label_emb = None if config.num_classes is None else nn.Embedding(config.num_classes, emb)
        widths = [int(multiple * config.model_channels) for multiple in config.channel_mult]
        first = channels = widths[0]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(config.in_channels, first, 3, padding=1)])])
        skips = [channels]
        factor = 1
        for level, width in enumerate(widths):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._stage(channels, width, factor))
                channels = width
                skips.append(channels)
            if level != len(widths) - 1:
                down = (
                    self._residual(channels, channels, "down")
                    if config.resblock_updown
                    else Downsample(channels, config.conv_resample)
                )
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(channels)
                factor *= 2
        self.middle_block = nn.ModuleList(
            [self._residual(channels, channels), self._attention(channels), self._residual(channels, channels)]
        )
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for block in range(config.num_res_blocks + 1):
                stage = self._stage(channels + skips.pop(), width, factor)
                channels = width
                if level and block == config.num_res_blocks:
                    stage.append(
                        self._residual(channels, channels, "up")
                        if config.resblock_updown
                        else Upsample(channels, config.conv_resample)
                    )
                    factor //= 2
                self.output_blocks.append(stage)
        self.out = nn.Sequential(
            GroupNorm(channels, config.norm_num_groups),
            nn.SiLU(),
            zeroed(nn.Conv2d(first, config.out_channels, 3, padding=1)),
        )

    def forward(
        self,
        sample: Tensor,
        timesteps: Tensor,
        context: Sequence[Context] | None = None,
        pooled: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The network's answer in float32.

        Args:
            sample: (B, in_channels, H, W), sides multiples of ``config.factor``.
            timesteps: (B,) in the original numbering, not indices of a respaced schedule.
            context: from :meth:`context`, one entry per attention block; a batch of 1 serves any batch.
            pooled: (B, embedding_channels), added to the time embedding.
            labels: (B,) int64 classes of a class-conditional network.
        """
        embedding = self.embed(timesteps, labels)
        if pooled is not None:
            embedding = embedding + pooled
        return self.decode(self.encode(sample, embedding, context), embedding, context)

    def embed(self, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, embedding_channels) of (B,) timesteps: after the second linear layer, before any activation.

        A class-conditional network adds the embedding of ``labels``, (B,) int64, which others do not take.

        Raises:
            ValueError: labels for an unconditional network, or none for a class-conditional one.
        """
        if (labels is None) != (self.label_emb is None):
            raise ValueError(f"the network has {self.config.num_classes or 'no'} classes, labels are {labels}")
        embedding = timestep_embedding(timesteps, self.config.model_channels)
        embedding = self.time_embed(embedding.to(_dtype(self.time_embed)))
        return embedding if self.label_emb is None else embedding + self.label_emb(labels)

    def context(self, tokens: Tensor) -> tuple[Context, ...]:
        """Keys and values of the condition's ``tokens`` (B, encoder_channels, T) for every attention block.

        They do not depend on the timestep or the noisy picture: computed once per condition, they serve every step.
        """
        return tuple(block.context(tokens) for block in self._attention_blocks())

    def encode(self, sample: Tensor, embedding: Tensor, context: Sequence[Context] | None = None) -> Encoded:
        """The way down and the middle block."""
        given = _expanded(context, sample.shape[0])
        features = sample.to(self.torso_dtype)
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            features = _through(stage, features, embedding, given)
            skips.append(features)
        return Encoded(_through(self.middle_block, features, embedding, given), tuple(skips))

    def decode(self, encoded: Encoded, embedding: Tensor, context: Sequence[Context] | None = None) -> Tensor:
        """The way up, from a bottleneck that may have been changed since :meth:`encode`; float32."""
        features, skips = encoded.bottleneck, list(encoded.skips)
        given = _expanded(context, features.shape[0])
        # the entries of the way down and the middle have been used by encode
        for _ in range(self._encoding_attention_blocks()):
            next(given)
        for stage in self.output_blocks:
            features = _through(stage, torch.cat([features, skips.pop()], dim=1), embedding, given)
        return self.out(features.to(_dtype(self.out))).float()

    @property
    def torso_dtype(self) -> torch.dtype:
        """Precision of the convolutions between input and output."""
        return _dtype(self.input_blocks[0])

    def cast_torso(self, dtype: torch.dtype) -> GuidedUNet:
        """Cast the convolutions of the blocks alone, as the official half precision does; returns itself.

        Norms, linear layers, embeddings and the last layer stay as they are: timesteps and noise need their bits.
        """
        for part in (self.input_blocks, self.middle_block, self.output_blocks):
            for module in part.modules():
                if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                    module.to(dtype)
        return self

    def _stage(self, in_channels: int, out_channels: int, factor: int) -> nn.ModuleList:
        modules: list[nn.Module] = [self._residual(in_channels, out_channels)]
        if factor in self.config.attention_downsample:
            modules.append(self._attention(out_channels))
        return nn.ModuleList(modules)

    def _residual(self, in_channels: int, out_channels: int, direction: Resampling = None) -> ResBlock:
        config = self.config
        return ResBlock(
            in_channels,
            out_channels,
            config.embedding_channels,
            config.dropout,
            config.scale_shift_norm,
            direction,
            config.norm_num_groups,
        )

    def _attention(self, channels: int) -> AttentionBlock:
        config = self.config
        return AttentionBlock(channels, config.num_head_channels, config.encoder_channels, config.norm_num_groups)

    def _attention_blocks(self) -> Iterator[AttentionBlock]:
        for part in (self.input_blocks, self.middle_block, self.output_blocks):
            for module in part.modules():
                if isinstance(module, AttentionBlock):
                    yield module

    def _encoding_attention_blocks(self) -> int:
        parts = (self.input_blocks, self.middle_block)
        return sum(isinstance(module, AttentionBlock) for part in parts for module in part.modules())


def timestep_embedding(timesteps: Tensor, channels: int) -> Tensor:
    """(B, channels) float32: cosines, then sines, of t * 10000^(-k / half)."""
    half = channels // 2
    exponents = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps.float()[:, None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def _through(
    stage: nn.ModuleList | nn.Module, features: Tensor, embedding: Tensor, context: Iterator[Context | None]
) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for module in stage:
        if isinstance(module, ResBlock):
            features = module(features, embedding)
        elif isinstance(module, AttentionBlock):
            features = module(features, next(context))
        else:
            features = module(features)
    return features


def _expanded(context: Sequence[Context] | None, batch: int) -> Iterator[Context | None]:
    """One entry per attention block, a batch of 1 repeated without copying; endless None without a condition."""
    if context is None:
        while True:
            yield None
    for keys, values in context:
        yield keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
