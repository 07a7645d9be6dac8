"""Dimensions of PITI's two models, and how they are written beside weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from methods.nn.guided_unet import UNetConfig

Family = Literal["mask", "sketch", "depth", "normals", "depth_normals"]
"""What a model is conditioned on."""

CHANNELS: dict[str, int] = {"mask": 3, "sketch": 1, "depth": 3, "normals": 3, "depth_normals": 6}
"""Channels of the condition by family."""

CONDITION_SIZE = 256
"""Side of the condition picture, for the base model and the upsampler alike."""

Stage = Literal["base", "upsampler"]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EncoderConfig(_Block):
    """The condition encoder: a strided CNN to 16 x 16 tokens, then a transformer."""

    channels: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Widths of the five normalised convolutions; all but the first halve the resolution."""
    width: int = 512
    """Width of the transformer's tokens."""
    layers: int = 8
    """Blocks of the transformer."""
    heads: int = 8
    """Attention heads per block of the transformer."""


class ModelConfig(_Block):
    """One of the two models: its condition encoder and its UNet (:class:`methods.nn.guided_unet.UNetConfig`)."""

    stage: Stage
    """``base`` makes a small picture, ``upsampler`` enlarges one."""
    side: int
    """Side of the pictures it makes, in pixels."""
    schedule: Literal["linear", "squaredcos_cap_v2"]
    """Noise schedule it was trained with, over 1000 steps."""
    encoder: EncoderConfig = EncoderConfig()
    """The condition encoder."""
    model_channels: int = 192
    """Width of the UNet's first level."""
    channel_mult: tuple[int, ...]
    """Width of each level in units of ``model_channels``; every level halves the resolution."""
    num_res_blocks: int
    """Residual blocks per level on the way down; one more on the way up."""
    attention_downsample: tuple[int, ...]
    """Factors of downsampling at which every residual block is followed by attention."""
    num_head_channels: int = 64
    """Channels per attention head."""
    dropout: float = 0.1
    """Share of values dropped inside every residual block, while training."""
    norm_num_groups: int = 32
    """Groups of every GroupNorm."""

    @property
    def unet(self) -> UNetConfig:
        """The UNet's dimensions: an upsampler sees the small picture beside the noisy one."""
        # imported here, so that describing a model imports no torch
        from methods.nn.guided_unet import UNetConfig

        return UNetConfig(
            in_channels=3 if self.stage == "base" else 6,
            out_channels=6,
            model_channels=self.model_channels,
            channel_mult=self.channel_mult,
            num_res_blocks=self.num_res_blocks,
            attention_downsample=self.attention_downsample,
            num_head_channels=self.num_head_channels,
            dropout=self.dropout,
            norm_num_groups=self.norm_num_groups,
            encoder_channels=self.encoder.width,
        )


OFFICIAL_BASE = ModelConfig(
    stage="base",
    side=64,
    schedule="squaredcos_cap_v2",
    channel_mult=(1, 2, 3, 4),
    num_res_blocks=3,
    attention_downsample=(2, 4, 8),
)
"""GLIDE's base model as released with PITI: 338 million parameters with its encoder."""

OFFICIAL_UPSAMPLER = ModelConfig(
    stage="upsampler",
    side=256,
    schedule="linear",
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attention_downsample=(8, 16, 32),
)
"""GLIDE's upsampler as released with PITI: 351 million parameters with its encoder."""


class PITIConfig(_Block):
    """What our own weight files say of themselves: one of the two models, or both."""

    family: Family
    base: ModelConfig | None = None
    upsampler: ModelConfig | None = None
