"""The light description of the training of a small text-to-image model; imports no torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from methods.train.objective import ObjectiveInfo, ObjectiveParams
from methods.train.recipe import share_at

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]


class TextToImageParams(ObjectiveParams):
    """Parameters of a small latent diffusion model, trained from nothing."""

    size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Pixels a side that pictures are brought to, a multiple of 32."""
    vae_steps: Annotated[int, Field(ge=0)] = 8_000
    """The first so many steps train the autoencoder, the others text encoder and UNet on its latents."""
    vae_crop: Annotated[int, Field(ge=32, multiple_of=32)] | None = None
    """Side of the crops that the autoencoder learns on, which makes its steps cheaper. None: whole pictures."""
    latent_channels: Annotated[int, Field(ge=1, le=64)] = 4
    """Channels of the latents; Stable Diffusion has 4."""
    vae_widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (24, 40, 40)
    """Channels by level; the autoencoder halves the sides between levels."""
    unet_widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (40, 64, 72)
    """Channels by level of the UNet."""
    text_width: Width = 80
    """Channels of the text encoder."""
    text_layers: Annotated[int, Field(ge=1)] = 3
    """Layers of the text encoder."""
    sentences: str | None = None
    """A text file of sentences (URI) whose words become tokens, beside those of the bundled prompts."""
    vocabulary: Annotated[int, Field(ge=0)] = 600
    """Tokens made from them, at most."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of captions replaced by nothing, for classifier-free guidance."""
    min_snr_gamma: Positive | None = None
    """Bound of the weights min(snr, gamma) / snr of the noise's error (arXiv 2303.09556); none weighs every timestep
    alike, as published.
    """
    beta_end: Annotated[float, Field(gt=0.00085, lt=1)] = 0.012
    """Noise of the last timestep; Stable Diffusion has 0.012, at which the mean of a whole picture is still seen
    through the noise: nights then stay as bright as the days that they are made from (arXiv 2305.08891).
    """
    latent_cache: Annotated[int, Field(ge=0)] = 0
    """How many pictures' latents the second stage keeps in memory; the others are encoded again."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5
    """Weight of the autoencoder's divergence."""
    vae_perceptual: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the perceptual distance (on EfficientNet-Lite0's features, offline) in the autoencoder's loss; latent
    diffusion was published with it (LPIPS). 0: none.
    """
    vae_adversarial: Annotated[float, Field(ge=0)] = 0.0
    """Weight of a PatchGAN's loss in the second half of the autoencoder's stage, published likewise. 0: none."""
    vae_lr: Positive = 5e-4
    """Learning rate of AdamW in this stage."""
    lr: Positive = 3e-4
    """Learning rate of AdamW in this stage."""
    lr_warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises in a line, in each stage."""
    vae_lr_decay_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the autoencoder's stage after which its learning rate falls in a line to a hundredth; 1 never falls."""
    lr_decay_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The same for the second stage."""

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.vae_crop is not None and self.vae_crop > self.size:
            raise ValueError(f"vae_crop is {self.vae_crop}, expected at most the size, {self.size}")
        return self


def _schedule(params: TextToImageParams, step: int, steps: int) -> float:
    """Each stage rises and falls by itself: the autoencoder is trained when the UNet begins to learn its latents."""
    first = params.vae_steps
    if step < first:
        return share_at(step, first, params.lr_warmup, params.vae_lr_decay_from)
    return share_at(step - first, steps - first, params.lr_warmup, params.lr_decay_from)


INFO = ObjectiveInfo(
    name="text_to_image",
    summary="A small latent diffusion model from nothing: autoencoder, text encoder and UNet in one run.",
    paper="https://arxiv.org/abs/2112.10752",
    implementation="methods.train.text_to_image.objective:TextToImageTraining",
    params=TextToImageParams,
    streams={"captioned": "pictures with captions"},
    steps=60_000,
    batch_size=32,
    schedule=_schedule,
)
