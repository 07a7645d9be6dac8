"""Dimensions of a guided-diffusion UNet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """What a guided-diffusion UNet is built from; none of it but the shapes can be read from a checkpoint.

    Attributes:
        in_channels: 3, or 6 for an upsampler that sees the low resolution picture beside the noisy one.
        out_channels: 3, or 6 with a learned variance (first half noise, second half variance interpolation).
        model_channels: width of the first level.
        channel_mult: width of each level in units of ``model_channels``; every level halves the resolution.
        num_res_blocks: ResBlocks per level on the way down; one more on the way up.
        attention_downsample: factors of downsampling at which every ResBlock is followed by attention.
        num_head_channels: channels per head; the number of heads follows from the width.
        resblock_updown: resample inside a ResBlock; otherwise by a strided convolution and a nearest upsampling.
        conv_resample: whether that resampling has a convolution of its own (without ``resblock_updown``).
        scale_shift_norm: the time embedding scales and shifts the second norm instead of being added before it.
        dropout: inside every ResBlock, while training.
        norm_num_groups: groups of every GroupNorm; 32 in all published networks.
        num_classes: classes of a class-conditional network; none: unconditional.
        encoder_channels: width of the tokens for cross-attention; none: no tokens.
    """

    in_channels: int = 3
    out_channels: int = 6
    model_channels: int = 256
    channel_mult: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attention_downsample: tuple[int, ...] = (8, 16, 32)
    num_head_channels: int = 64
    resblock_updown: bool = True
    conv_resample: bool = True
    scale_shift_norm: bool = True
    dropout: float = 0.0
    norm_num_groups: int = 32
    encoder_channels: int | None = None
    num_classes: int | None = None

    @property
    def embedding_channels(self) -> int:
        """Width of the time embedding."""
        return 4 * self.model_channels

    @property
    def factor(self) -> int:
        """The sides of an input must be multiples of this."""
        return 2 ** (len(self.channel_mult) - 1)
