"""What can be set when an unconditional denoiser is trained; imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from methods.train.objective import ObjectiveInfo, ObjectiveParams


class DDPMParams(ObjectiveParams):
    """Parameters of an unconditional denoiser in guided-diffusion's layout, its variance learned.

    Attributes:
        image_size: pictures are resized to this square.
        model_channels, channel_mult, num_res_blocks, attention_downsample, num_head_channels, dropout: of the UNet.
        schedule: of the noise; Asyrp and DiffuseIT read ``linear``.
        min_snr_gamma: bound of the weights min(snr, gamma) / snr of the squared error (arXiv 2303.09556); none weighs
            every timestep alike, as published.
        lr, weight_decay: AdamW.
        flip: mirror every other picture.
        preview_steps: of the validation's samples.
    """

    image_size: int = Field(default=256, ge=8, le=1024)
    model_channels: int = Field(default=128, ge=32, multiple_of=32)
    channel_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = Field(default=1, ge=1)
    attention_downsample: tuple[int, ...] = (16,)
    num_head_channels: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["linear", "squaredcos_cap_v2"] = "linear"
    min_snr_gamma: float | None = Field(default=None, gt=0)
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    flip: bool = True
    preview_steps: int = Field(default=50, ge=2, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        factor = 2 ** (len(self.channel_mult) - 1)
        if not self.channel_mult or self.image_size % factor:
            raise ValueError(f"image_size is {self.image_size}, expected a multiple of {factor} for these channel_mult")
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
    streams={"images": "pictures of the domain"},
    steps=500_000,
    batch_size=16,
)
