"""pix2pix-Turbo as a method."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Inputs, MethodInfo
from methods.errors import BadSample, InputError
from methods.nn.image_prep import prepare_image, window_of
from methods.pix2pix_turbo.info import INFO
from methods.pix2pix_turbo.loading import LoadedTurbo, load_weights
from methods.pix2pix_turbo.params import Pix2PixTurboParams
from methods.turbo.blend import BlendedGenerator
from methods.turbo.condition import condition

GAMMA_COLUMN = "gamma"


class Pix2PixTurbo:
    """A pix2pix-Turbo model, its LoRA merged: once, or for stochastic weights for the gamma of each group of samples.

    Args:
        loaded: float32, on the CPU.
        params: what the user set.
        device, dtype: where and in which precision the networks run. Latents and the scheduler step stay in float32.

    Raises:
        InputError: gamma for weights that were not trained for it, or a caption that cannot be embedded.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self, loaded: LoadedTurbo, params: Pix2PixTurboParams, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.params = params
        self.device = device
        generator = loaded.generator.to(device, dtype).eval().requires_grad_(False)
        # the two 1x1 convolutions on latents cost nothing and their rounding would be amplified 15 to 80 times
        for conv in (generator.vae.quant_conv, generator.vae.post_quant_conv):
            if conv is not None:
                conv.float()
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blended: BlendedGenerator | None = None
        if loaded.adapters is not None and loaded.pretrained is not None:
            self.blended = BlendedGenerator(self.generator, loaded.adapters, loaded.pretrained)
        elif params.gamma is not None:
            raise InputError(
                f"method.params.gamma is {params.gamma}, but {loaded.captions.where} was trained for deterministic "
                "translation: leave gamma out, or use weights with a TwinConv (sketch_to_image_stochastic)"
            )
        self.captions = loaded.captions.to(device)
        self.default_caption = loaded.caption
        if params.caption is not None:
            self.captions.only(params.caption, "method.params.caption")

    @classmethod
    def build(
        cls, params: Pix2PixTurboParams, weights: str | None, device: torch.device, dtype: torch.dtype
    ) -> Pix2PixTurbo:
        """Load weights: an official ``.pkl`` over ``params.base``, or one of our ``.safetensors``.

        Raises:
            InputError: no weights named, or weights that cannot be found or do not fit.
        """
        if weights is None:
            presets = ", ".join(INFO.presets)
            raise InputError(f"pix2pix_turbo needs weights: set method.weights or a preset ({presets})")
        return cls(load_weights(params, weights), params, device, dtype)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return self.generator.heavy()

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, H, W) float32 in [0, 1], H and W multiples of 8.

        Raises:
            BadSample: no image, a size that ``image_prep`` refuses, no caption (or one that cannot be embedded), or a
                ``gamma`` that is no number in [0, 1].
        """
        if inputs.image is None:
            raise BadSample("no_image", "pix2pix_turbo needs an image")
        caption = self._caption(inputs.caption)
        if caption is None:
            raise BadSample("no_caption", "no caption with this sample and none in method.params.caption")
        if not self.captions.knows(caption):
            raise BadSample(
                "unknown_caption", f"the weights hold no embedding of '{caption}': set method.params.caption to one"
            )
        self.captions.check(caption)
        self._gamma(inputs.columns)
        image = prepare_image(inputs.image, self.params.image_prep, self.params.lanczos)
        return condition(image, self.params.input, self.params.canny_low, self.params.canny_high)

    @torch.inference_mode()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1].

        The latent's posterior is sampled from the stream ``latent``; stochastic weights draw ``noise_map`` too.
        """
        shape = self.generator.latent_shape(*batch.inputs.shape[-2:])
        noise = batch.noise(shape, "latent")
        captions = [self._caption(caption) or "" for caption in (batch.captions or [None] * len(batch))]
        embedding = self.captions(captions)
        images = batch.inputs.contiguous(memory_format=torch.channels_last)
        if self.blended is None:
            return self.generator(images, embedding, noise).clamp(-1.0, 1.0)
        gammas = [self._gamma(columns) for columns in (batch.columns or [{}] * len(batch))]
        noise_map = batch.noise(shape, "noise_map").expand(len(batch), *shape)
        embedding = embedding.expand(len(batch), -1, -1)
        output = torch.empty_like(images)
        for gamma in sorted(set(gammas)):
            rows = torch.tensor([i for i, own in enumerate(gammas) if own == gamma], device=self.device)
            output[rows] = self.blended(images[rows], embedding[rows], noise[rows], noise_map[rows], gamma)
        return output.clamp(-1.0, 1.0)

    def _caption(self, own: str | None) -> str | None:
        for caption in (self.params.caption, own, self.default_caption):
            if caption is not None:
                return caption
        return None

    def _gamma(self, columns: Any) -> float:
        """A sample's coefficient: its column, else the parameter, else 1. Only stochastic weights look at columns."""
        if self.blended is None:
            return 1.0
        fallback = 1.0 if self.params.gamma is None else self.params.gamma
        value = columns.get(GAMMA_COLUMN) if hasattr(columns, "get") else None
        if value is None or self.params.gamma is None:
            return fallback
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0.0 <= number <= 1.0:
            raise BadSample("bad_gamma", f"column '{GAMMA_COLUMN}' is {value!r}, expected a number in [0, 1]")
        return number
