"""The light description of the training of a small text-to-image model; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from methods.train.objective import ObjectiveInfo, ObjectiveParams

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]


class TextToImageParams(ObjectiveParams):
    """Parameters of a small latent diffusion model, trained from nothing.

    Attributes:
        size: pixels a side that pictures are brought to, a multiple of 32.
        vae_steps: the first so many steps train the autoencoder, the others text encoder and UNet on its latents.
        vae_widths, unet_widths: channels by level; the autoencoder halves the sides between levels.
        text_width, text_layers: of the text encoder.
        sentences: a text file of sentences (URI) whose words become tokens, beside those of the bundled banks.
        vocabulary: tokens made from them, at most.
        caption_dropout: share of captions replaced by nothing, for classifier-free guidance.
        min_snr_gamma: bound of the weights min(snr, gamma) / snr of the noise's error (arXiv 2303.09556); none weighs
            every timestep alike, as published.
        latent_cache: how many pictures' latents the second stage keeps in memory; the others are encoded again.
        kl_weight: weight of the autoencoder's divergence.
        vae_lr, lr: AdamW's, of the two stages.
    """

    size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    vae_steps: Annotated[int, Field(ge=0)] = 8_000
    vae_widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (24, 40, 40)
    unet_widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (40, 64, 72)
    text_width: Width = 80
    text_layers: Annotated[int, Field(ge=1)] = 3
    sentences: str | None = None
    vocabulary: Annotated[int, Field(ge=0)] = 600
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    min_snr_gamma: Positive | None = None
    latent_cache: Annotated[int, Field(ge=0)] = 0
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5
    vae_lr: Positive = 5e-4
    lr: Positive = 3e-4


INFO = ObjectiveInfo(
    name="text_to_image",
    summary="A small latent diffusion model from nothing: autoencoder, text encoder and UNet in one run.",
    paper="https://arxiv.org/abs/2112.10752",
    implementation="methods.train.text_to_image.objective:TextToImageTraining",
    params=TextToImageParams,
    streams={"captioned": "pictures with captions"},
    steps=60_000,
    batch_size=32,
)
