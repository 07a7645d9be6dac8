"""pix2pix-zero as a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Inputs, MethodInfo
from methods.errors import BadSample, InputError
from methods.nn.attention_capture import cross_attention_layers
from methods.nn.captioner import load_captioner
from methods.nn.captions import CaptionSource
from methods.nn.ddim import sampling_plan
from methods.nn.image_prep import prepare_image, to_tensor, window_of
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.directions import load_concept, load_direction
from methods.pix2pix_zero.edit import Edit, edit
from methods.pix2pix_zero.info import INFO
from methods.pix2pix_zero.inversion import inversion_plan, invert
from methods.pix2pix_zero.params import Pix2PixZeroParams
from methods.pix2pix_zero.regularise import Regularisation, pyramid_levels, shifts_from_noise
from methods.sharing import loaded_once

_GUIDANCE_AMOUNT = {"real": 0.1, "synthetic": 0.15}


class Pix2PixZero:
    """One edit direction on a frozen text-to-image model; edits of the same samples share inversion and first pass.

    Args:
        model: the text-to-image model.
        direction: (1, 77, D), its strength applied.
        captions: where captions come from.
        params: what the user set.

    Raises:
        InputError: a number of steps that the model's noise schedule does not have.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self, model: StableDiffusion, direction: Tensor, captions: CaptionSource, params: Pix2PixZeroParams
    ) -> None:
        self.params, self.device = params, model.device
        self.model, self.captions = model, captions
        self.direction = direction.to(model.device)
        self.layers = cross_attention_layers(model.unet)
        try:
            self.sampling = sampling_plan(model.scheduler_config, params.steps)
            self.inversion = inversion_plan(
                model.alphas, params.steps, int(model.scheduler_config.get("steps_offset", 0))
            )
        except ValueError as error:
            raise InputError(f"method.params.steps: {error}") from None
        self.regularisation = Regularisation(
            params.lambda_autocorrelation,
            params.lambda_divergence,
            params.regularisation_rounds,
            params.regularisation_shifts,
        )
        negative = "" if params.negative_prompt is None and params.mode == "synthetic" else params.negative_prompt
        self.negative = None if negative is None else _embedded(model, negative)
        self.inversion_negative = None
        if params.inversion_guidance_scale > 1:
            self.inversion_negative = _embedded(model, params.inversion_negative_prompt)
        amount = params.guidance_amount
        self.edit = Edit(
            self.direction, _GUIDANCE_AMOUNT[params.mode] if amount is None else amount, params.guidance_scale
        )
        guidance = (params.inversion_guidance_scale, params.inversion_negative_prompt)
        same = (type(self), id(model), params.steps, captions.rule)
        self.inverted = ("inversion", *same, *guidance, self.regularisation)
        first_pass = (params.mode, negative, None if negative is None else params.guidance_scale)
        self.followed = ("first pass", self.inverted, *first_pass)
        self.shares = frozenset({self.inverted, self.followed} | captions.shares)

    @classmethod
    def build(
        cls, params: Pix2PixZeroParams, weights: str | None, device: torch.device, dtype: torch.dtype
    ) -> Pix2PixZero:
        """Load a model in diffusers' layout and the direction.

        Raises:
            InputError: no weights named, weights or embeddings that cannot be found or do not fit each other.
        """
        if weights is None:
            raise InputError(
                "pix2pix_zero needs a text-to-image model: set method.weights (CompVis/stable-diffusion-v1-4) or a "
                f"preset ({', '.join(INFO.presets)})"
            )
        model = loaded_once((StableDiffusion, weights, device, dtype), lambda: StableDiffusion(weights, device, dtype))

        def concept(name: str) -> Tensor:
            return loaded_once((load_concept, name, id(model)), lambda: load_concept(name, model.text))

        if params.direction is not None:
            direction = load_direction(params.direction, model.text)
        else:
            assert params.source is not None
            assert params.target is not None
            direction = concept(params.target) - concept(params.source)
        captioner = load_captioner(params.captioner, device) if params.captioner else None
        captions = CaptionSource(model.text, params.caption, captioner)
        return cls(model, params.strength * direction, captions, params)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return self.model.heavy()

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, H, W) float32 in [-1, 1], H and W multiples of 8.

        Raises:
            BadSample: no image, no usable caption, a size that ``image_prep`` refuses or that is too small.
        """
        if inputs.image is None:
            raise BadSample("no_image", "pix2pix_zero needs an image")
        self.captions.check(inputs)
        image = prepare_image(inputs.image, self.params.image_prep, self.params.lanczos)
        smallest = 4 * self.model.downscale
        if min(image.shape[:2]) < smallest:
            raise BadSample("too_small", f"{image.shape[1]}x{image.shape[0]}: both sides must be at least {smallest}")
        return to_tensor(image, signed=True)

    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1].

        Draws per sample: ``latent`` (the posterior's sample, or the start of a synthetic picture) and ``shifts``
        (the regularisation's; standard normal, or whole numbers when recorded ones are injected).
        """
        # guidance differentiates through the UNet, which inference mode forbids for everything made under it
        with torch.inference_mode(False), torch.no_grad():
            images = batch.inputs.clone()
            # for each target by itself, whoever made its edit: what is cut of a caption is counted for it
            captions = self.captions(images, batch)
            latents = batch.at_once(self.followed, self, lambda asked: self._edited(batch, images, captions, asked))
            return self.model.decode(latents)

    def _edited(
        self, batch: Batch, images: Tensor, captions: Sequence[str], asked: Sequence[Pix2PixZero]
    ) -> list[Tensor]:
        """The latents (B, C, h, w) of this edit and of others with the same first pass."""
        caption = self.model.text.embed(captions)
        noise = batch.noise(self.model.latent_shape(*images.shape[-2:]), "latent").clone()
        start = noise
        if self.params.mode == "real":
            start = batch.once(self.inverted, lambda: self._inverted(batch, images, noise, caption))
        negative = None if self.negative is None else self.negative.expand(len(batch), -1, -1)
        edits = [each.edit for each in asked]
        latents = [start] * len(edits)
        for steps in edit(self.model, start, caption, negative, edits, self.sampling, self.layers):
            latents = [step.latents for step in steps]
        return latents

    def _inverted(self, batch: Batch, images: Tensor, noise: Tensor, caption: Tensor) -> Tensor:
        latents = self.model.encode(images, noise)
        shifts = torch.empty(0)
        if self.regularisation.active:
            rows = latents.shape[2]
            counts = (len(self.inversion), self.regularisation.rounds, self.regularisation.shifts)
            drawn = batch.noise((*counts, latents.shape[1], pyramid_levels(rows)), "shifts")
            shifts = shifts_from_noise(drawn.cpu(), rows) if drawn.is_floating_point() else drawn.long()
            shifts = shifts.to(latents.device)
        negative = self.inversion_negative
        states = invert(
            self.model,
            latents,
            caption,
            self.inversion,
            self.regularisation,
            shifts,
            None if negative is None else negative.expand(len(batch), -1, -1),
            self.params.inversion_guidance_scale,
        )
        for state in states:
            latents = state
        return latents


def _embedded(model: StableDiffusion, text: str) -> Tensor:
    model.text.check(text)
    return model.text.embed([text])
