"""pix2pix as a method."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods import weights as store
from methods.base import Batch, Inputs, MethodInfo
from methods.errors import BadSample, InputError
from methods.nn.image_prep import prepare_image, to_tensor, window_of
from methods.pix2pix.files import load_generator
from methods.pix2pix.info import INFO
from methods.pix2pix.network import UNetGenerator
from methods.pix2pix.params import Pix2PixParams


class Pix2Pix:
    """A generator trained on pairs."""

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self, generator: UNetGenerator, params: Pix2PixParams, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.params, self.device, self.dtype = params, device, dtype
        self.generator = generator.to(device, dtype).eval().requires_grad_(False)

    @classmethod
    def build(cls, params: Pix2PixParams, weights: str | None, device: torch.device, dtype: torch.dtype) -> Pix2Pix:
        """Load a file that `sceneshift train` or `sceneshift distill` wrote.

        Raises:
            InputError: no weights named, or not such a file.
        """
        if weights is None:
            raise InputError("pix2pix needs weights: set method.weights to what `train` or `distill` wrote")
        path = store.fetch(weights)
        if path.is_dir():
            raise InputError(f"{path}: found a folder, expected a .safetensors file")
        return cls(load_generator(path), params, device, dtype)

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, H, W) float32 in [-1, 1], H and W multiples of 8.

        Raises:
            BadSample: no image, or a size that ``image_prep`` refuses or that is too small.
        """
        if inputs.image is None:
            raise BadSample("no_image", "pix2pix needs an image")
        image = prepare_image(inputs.image, self.params.image_prep, self.params.lanczos)
        smallest = 2**self.generator.levels
        if min(image.shape[:2]) < smallest:
            raise BadSample("too_small", f"{image.shape[1]}x{image.shape[0]}: both sides must be at least {smallest}")
        return to_tensor(image, signed=True)

    @torch.inference_mode()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]; draws nothing."""
        return self.generator(batch.inputs.to(self.dtype)).float().clamp(-1.0, 1.0)
