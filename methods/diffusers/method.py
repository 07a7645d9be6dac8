"""Pipelines of diffusers as a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from methods.base import Batch, Inputs, MethodInfo
from methods.diffusers.info import INFO
from methods.diffusers.loading import LoadedPipeline, load_pipeline
from methods.diffusers.params import DiffusersParams
from methods.diffusers.prompts import filled
from methods.errors import BadSample
from methods.nn.image_prep import prepare_image, to_tensor, window_of
from methods.nn.quiet_libraries import quiet
from methods.turbo.condition import condition

BATCHED = frozenset(
    {
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLInstructPix2PixPipeline",
        "StableDiffusionXLControlNetPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
    }
)
"""Pipelines that take a list of pictures as a batch, each with its own generator, and give what single calls give.
All others are called picture by picture: some take a list as several references of one sample."""


class DiffusersPipeline:
    """A pipeline of diffusers, called with each sample's picture, prompt and generator.

    Args:
        loaded: the pipeline on its device.
        params: what the user set.
        device: where inputs are expected.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(self, loaded: LoadedPipeline, params: DiffusersParams, device: torch.device) -> None:
        self.params, self.device = params, device
        self.pipeline, self.choice, self.denoiser = loaded.pipeline, loaded.choice, loaded.denoiser
        self.batched = self.choice.pipeline in BATCHED
        named = (params.mask, params.control if params.control not in ("image", "canny") else None)
        self.masks = frozenset(name for name in named if name is not None)

    @classmethod
    def build(
        cls, params: DiffusersParams, weights: str | None, device: torch.device, dtype: torch.dtype
    ) -> DiffusersPipeline:
        """Load the pipeline. Raises InputError as :func:`methods.diffusers.loading.load_pipeline`."""
        return cls(load_pipeline(params, weights, device, dtype), params, device)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return [(self.pipeline, self.denoiser)]

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(C, H, W) float32 in [0, 1]: the picture, then its mask or its control picture where the task has one.

        Raises:
            BadSample: no image, nothing to fill the prompt with, no mask, a mask of another size, or a size that
                ``image_prep`` refuses.
        """
        if inputs.image is None:
            raise BadSample("no_image", "diffusers needs an image")
        self._prompts(inputs.caption, inputs.columns)
        image = prepare_image(inputs.image, self.params.image_prep, self.params.lanczos)
        parts = [to_tensor(image, signed=False)]
        if self.params.mask is not None:
            parts.append(to_tensor(self._beside(inputs, self.params.mask), signed=False))
        elif self.choice.control is not None and self.params.control != "image":
            parts.append(self._control(inputs, image))
        return torch.cat(parts)

    @torch.no_grad()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]; the pipeline draws from one generator per sample (stream ``pipeline``)."""
        rows = range(len(batch))
        groups = [list(rows)] if self.batched else [[row] for row in rows]
        # pipelines change states of their schedulers in place, which inference mode forbids
        with torch.inference_mode(False), torch.no_grad(), quiet():
            return torch.cat([self._call(batch, group) for group in groups])

    def _call(self, batch: Batch, rows: Sequence[int]) -> Tensor:
        inputs = batch.inputs[list(rows)].clone()
        height, width = inputs.shape[-2:]
        given: dict[str, Any] = dict(self.choice.arguments)
        pictures = _pictures(inputs[:, :3])
        beside = _pictures(inputs[:, 3:]) if inputs.shape[1] > 3 else pictures
        if self.choice.takes_image:
            given["image"] = pictures
        if self.params.mask is not None:
            given["mask_image"] = beside
        if self.choice.control is not None:
            given[self.choice.control] = beside
        prompts = [
            self._prompts(batch.captions[row] if batch.captions else None, batch.columns[row] if batch.columns else {})
            for row in rows
        ]
        for name, texts in zip(("prompt", "negative_prompt"), zip(*prompts, strict=True), strict=True):
            if texts[0] is not None:
                given[name] = list(texts)
        generators = batch.generators("pipeline")
        given["generator"] = [generators[row] for row in rows]
        given |= {name: value for name, value in (("height", height), ("width", width)) if self._accepts(name)}
        if not self.batched:
            single = ("image", "mask_image", "control_image", "prompt", "negative_prompt", "generator")
            given |= {name: given[name][0] for name in single if name in given}
        images = self.pipeline(**given, output_type="pt").images
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[:2] != (len(rows), 3):
            raise RuntimeError(f"{self.choice.pipeline} gave no picture for each of {len(rows)} samples")
        signed = images.to(self.device, torch.float32) * 2 - 1
        if signed.shape[-2:] != (height, width):
            # some pipelines choose a size of their own
            signed = F.interpolate(signed, (height, width), mode="bicubic", antialias=True)
        return signed.clamp(-1.0, 1.0)

    def _accepts(self, name: str) -> bool:
        return name in self.choice.accepts.names

    def _prompts(self, caption: str | None, columns: Any) -> tuple[str | None, str | None]:
        """Prompt and negative prompt of one sample. Raises BadSample as :func:`filled`."""
        found = (self.params.prompt, self.params.negative_prompt)
        prompt, negative = (None if text is None else filled(text, caption, columns) for text in found)
        return prompt, negative

    def _control(self, inputs: Inputs, image: np.ndarray) -> Tensor:
        if self.params.control == "canny":
            return condition(image, "canny", *self.params.canny)
        beside = self._beside(inputs, self.params.control)
        return to_tensor(beside if beside.ndim == 3 else np.repeat(beside[:, :, None], 3, 2), signed=False)

    def _beside(self, inputs: Inputs, name: str) -> np.ndarray:
        """A mask of the sample, (H, W) or (H, W, 3) uint8, cut and resized as the picture is.

        Raises:
            BadSample: reason ``no_mask``, ``sizes_differ`` or ``not_8_bit``.
        """
        assert inputs.image is not None
        found = inputs.columns.get(name)
        if not isinstance(found, np.ndarray):
            raise BadSample("no_mask", f"the sample has no mask '{name}'")
        if found.shape[:2] != inputs.image.shape[:2]:
            size, wanted = (f"{each.shape[1]}x{each.shape[0]}" for each in (found, inputs.image))
            raise BadSample("sizes_differ", f"mask '{name}' is {size}, the picture {wanted}")
        if self.params.mask is not None:
            covered = (found if found.ndim == 2 else found.max(2)) > 0
            found = np.where(covered, np.uint8(255), np.uint8(0))
        elif found.dtype != np.uint8:
            raise BadSample("not_8_bit", f"control picture '{name}' has 16 bits per pixel, expected 8")
        return prepare_image(found if found.ndim == 2 else found[:, :, :3], self.params.image_prep, self.params.lanczos)


def _pictures(inputs: Tensor) -> list[Image.Image]:
    """(B, 1 or 3, H, W) in [0, 1] -> pictures; the numbers are those that were read."""
    pixels = inputs.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(each[:, :, 0] if each.shape[2] == 1 else each) for each in pixels]
