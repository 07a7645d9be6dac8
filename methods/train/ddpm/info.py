"""The light description of the unconditional denoiser objective; imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from methods.train.objective import ObjectiveInfo, ObjectiveParams


class DDPMParams(ObjectiveParams):
    """Parameters of an unconditional denoiser in the layout of guided-diffusion, with learned variance."""

    image_size: int = Field(default=256, ge=8, le=1024)
    """Side of the square that images are resized to."""
    model_channels: int = Field(default=128, ge=32, multiple_of=32)
    """Channels of the UNet's first level."""
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    """Channels of each level, in multiples of ``model_channels``."""
    num_res_blocks: int = Field(default=1, ge=1)
    """Residual blocks per level."""
    attention_downsample: tuple[int, ...] = (16,)
    """Downsampling factors at which the UNet has self-attention."""
    num_head_channels: int = Field(default=64, ge=1)
    """Channels per attention head."""
    norm_num_groups: int = Field(default=32, ge=1)
    """Groups of every group normalisation, as published 32. Small networks need fewer: in a group of one channel
    the mean over the picture is lost, and with it its colour. Asyrp and DiffuseIT take the same parameter."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in the residual blocks."""
    schedule: Literal["linear", "squaredcos_cap_v2"] = "linear"
    """Noise schedule; Asyrp and DiffuseIT read ``linear``."""
    min_snr_gamma: float | None = Field(default=None, gt=0)
    """Bound of the loss weights min(snr, gamma) / snr of the squared error (arXiv 2303.09556). None: equal weights,
    as published."""
    lr: float = Field(default=1e-4, gt=0)
    """Learning rate of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    flip: bool = True
    """Flip half of the images horizontally."""
    preview_steps: int = Field(default=50, ge=2, le=1000)
    """Steps of the samples drawn at validation."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        factor = 2 ** (len(self.channel_mult) - 1)
        if not self.channel_mult or self.image_size % factor:
            raise ValueError(f"image_size is {self.image_size}, expected a multiple of {factor} for these channel_mult")
        if self.model_channels % self.norm_num_groups:
            groups, channels = self.norm_num_groups, self.model_channels
            raise ValueError(f"norm_num_groups is {groups}, expected a divisor of model_channels, {channels}")
        attended = [self.model_channels * self.channel_mult[-1]]
        attended += [
            self.model_channels * width
            for level, width in enumerate(self.channel_mult)
            if 2**level in self.attention_downsample
        ]
        if any(width % self.num_head_channels for width in attended):
            raise ValueError(f"num_head_channels is {self.num_head_channels}, expected a divisor of {attended}")
        return self


INFO = ObjectiveInfo(
    name="ddpm",
    summary="An unconditional denoiser of a domain, which DiffuseIT and Asyrp then edit with.",
    paper="https://arxiv.org/abs/2102.09672",
    implementation="methods.train.ddpm.objective:DDPM",
    params=DDPMParams,
    streams={"images": "images of the domain"},
    steps=500_000,
    batch_size=16,
)
