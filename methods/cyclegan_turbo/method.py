"""CycleGAN-Turbo as a method."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Inputs, MethodInfo
from methods.cyclegan_turbo.info import INFO
from methods.cyclegan_turbo.loading import load_generator
from methods.cyclegan_turbo.params import CycleGANTurboParams
from methods.errors import BadSample, InputError
from methods.nn.image_prep import prepare_image, to_tensor, window_of
from methods.turbo.generator import OneStepGenerator


class CycleGANTurbo:
    """One direction of a CycleGAN-Turbo model, its LoRA merged, its caption encoded once.

    Args:
        generator: float32, on the CPU.
        embedding: (1, L, D) caption embedding.
        params: what the user set.
        device, dtype: where and in which precision the networks run. Latents and the scheduler step stay in float32.
        encoder: what the encoder depends on, to share what it makes with other methods of the same one.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self,
        generator: OneStepGenerator,
        embedding: Tensor,
        params: CycleGANTurboParams,
        device: torch.device,
        dtype: torch.dtype,
        encoder: Hashable = None,
    ) -> None:
        self.params = params
        self.encoder = ("encoding", encoder)
        self.shares = frozenset({self.encoder} if encoder is not None else ())
        self.device = device
        generator = generator.to(device, dtype).eval().requires_grad_(False)
        # the two 1x1 convolutions on latents cost nothing and their rounding would be amplified 15 to 80 times
        for conv in (generator.vae.quant_conv, generator.vae.post_quant_conv):
            if conv is not None:
                conv.float()
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.embedding = embedding.to(device, dtype)

    @classmethod
    def build(
        cls, params: CycleGANTurboParams, weights: str | None, device: torch.device, dtype: torch.dtype
    ) -> CycleGANTurbo:
        """Load weights: an official ``.pkl`` over ``params.base``, or one of our ``.safetensors``.

        Raises:
            InputError: no weights named, or weights that cannot be found or do not fit.
        """
        if weights is None:
            presets = ", ".join(INFO.presets)
            raise InputError(f"cyclegan_turbo needs weights: set method.weights or a preset ({presets})")
        generator, embedding = load_generator(params, weights)
        encoder = (cls, weights, params.base, params.direction, device, dtype)
        return cls(generator, embedding, params, device, dtype, encoder)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return self.generator.heavy()

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, H, W) float32 in [-1, 1], H and W multiples of 8.

        Raises:
            BadSample: no image, or a size that ``image_prep`` refuses.
        """
        if inputs.image is None:
            raise BadSample("no_image", "cyclegan_turbo needs an image")
        return to_tensor(prepare_image(inputs.image, self.params.image_prep, self.params.lanczos), signed=True)

    @torch.inference_mode()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]; the latent's posterior is sampled from the stream ``latent``."""
        height, width = batch.inputs.shape[-2:]
        noise = batch.noise(self.generator.latent_shape(height, width), "latent")
        images = batch.inputs.contiguous(memory_format=torch.channels_last)
        encoded = batch.once(self.encoder, lambda: self.generator.vae.encode(images))
        return self.generator.finish(encoded, self.embedding, noise).clamp(-1.0, 1.0)
