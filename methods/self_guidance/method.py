"""Self-guidance as a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods import weights as store
from methods.base import Batch, Inputs, MethodInfo
from methods.errors import BadSample, InputError
from methods.nn.attention_capture import cross_attention_layers
from methods.nn.captioner import load_captioner
from methods.nn.captions import CaptionSource
from methods.nn.ddim import ancestral_plan, ddim_step, inversion_of, sampling_plan
from methods.nn.image_prep import prepare_image, to_tensor, window_of
from methods.nn.stable_diffusion import Embedded, StableDiffusion
from methods.plugins import nearest
from methods.self_guidance.energy import Term
from methods.self_guidance.info import INFO
from methods.self_guidance.params import SelfGuidanceParams
from methods.self_guidance.sampling import Noised, Prompt, Reference, Watch, guided_sampling
from methods.self_guidance.tokens import bind, columns
from methods.sharing import loaded_once


class SelfGuidance:
    """Edits by self-guidance on a frozen text-to-image model; edits of the same samples share model and inversion.

    Args:
        model: the text-to-image model.
        captions: where captions come from.
        pictures: the reference pictures by name, (H, W, 3) uint8.
        params: what the user set.

    Raises:
        InputError: a layer or block that the model does not have, a word that a fixed caption does not hold, or
            more steps than the model's noise schedule has.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self,
        model: StableDiffusion,
        captions: CaptionSource,
        pictures: dict[str, np.ndarray],
        params: SelfGuidanceParams,
    ) -> None:
        self.params, self.device = params, model.device
        self.model, self.captions, self.pictures = model, captions, pictures
        self.terms = params.term_specs()
        self.inverted = ("inversion", type(self), id(model), params.steps, captions.rule)
        self.shares = frozenset({self.inverted} | captions.shares)
        self.watch = _watch(model, params)
        try:
            plan = ancestral_plan if params.sampler == "ddpm" else sampling_plan
            self.steps = plan(model.scheduler_config, params.steps)
        except ValueError as error:
            raise InputError(f"method.params.steps: {error}") from None
        self.negative = None if params.negative_prompt is None else _embedded(model, params.negative_prompt)
        if self.negative is None and params.mode == "generated":
            self.negative = model.no_prompt()
        self.reference_captions = {name: each.caption for name, each in params.references.items()}
        self.reference_prompts = {
            name: _prompt(_embedded(model, caption)) for name, caption in self.reference_captions.items()
        }
        self.reference_starts: dict[tuple[int, int], dict[str, Tensor]] = {}
        if params.caption is not None:
            try:
                self._bound(params.caption)
            except ValueError as error:
                raise InputError(f"method.params.edits: {error}") from None
        for name, caption in self.reference_captions.items():
            for term in self.terms:
                if term.reference == name:
                    try:
                        columns(model.text, caption, term.reference_words)
                    except ValueError as error:
                        raise InputError(f"method.params.references.{name}: {error}") from None

    @classmethod
    def build(
        cls, params: SelfGuidanceParams, weights: str | None, device: torch.device, dtype: torch.dtype
    ) -> SelfGuidance:
        """Load a model in diffusers' layout and the reference pictures.

        Raises:
            InputError: no weights named; weights, captioner or pictures that cannot be found or read.
        """
        if weights is None:
            raise InputError(
                "self_guidance needs a text-to-image model: set method.weights (CompVis/stable-diffusion-v1-4)"
            )
        model = loaded_once(
            (StableDiffusion, weights, device, dtype, "sdxl"),
            lambda: StableDiffusion(weights, device, dtype, sdxl=True),
        )
        captioner = load_captioner(params.captioner, device) if params.captioner else None
        pictures = {name: _picture(each.image) for name, each in params.references.items()}
        return cls(model, CaptionSource(model.text, params.caption, captioner), pictures, params)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return self.model.heavy()

    def window(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """The part of a picture that ``image_prep`` keeps; ``None`` for all of it."""
        return window_of(width, height, self.params.image_prep)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, H, W) float32 in [-1, 1], H and W multiples of 8.

        Raises:
            BadSample: no image, no usable caption, a word of an edit that the caption does not hold, or a size that
                ``image_prep`` refuses.
        """
        if inputs.image is None:
            raise BadSample("no_image", "self_guidance needs an image")
        self.captions.check(inputs)
        if self.captions.captioner is None and self.params.caption is None:
            assert inputs.caption is not None
            self._bound_or_refused(inputs.caption)
        return to_tensor(prepare_image(inputs.image, self.params.image_prep, self.params.lanczos), signed=True)

    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1].

        Draws ``latent``: the posterior's sample, or a generated picture's start; with ``real_source`` noising also
        ``start`` and ``source_steps``, with the ancestral sampler ``steps``.
        """
        # guidance differentiates through the UNet, which inference mode forbids for everything made under it
        with torch.inference_mode(False), torch.no_grad():
            images = batch.inputs.clone()
            height, width = images.shape[-2:]
            captions = self.captions(images, batch)
            terms = [self._bound_or_refused(caption) for caption in captions]
            embedded = self.model.embed(captions)
            noise = batch.noise(self.model.latent_shape(height, width), "latent").clone()
            alone = _prompt(embedded)
            prompt, source_prompt, start = _prompt(embedded, self.negative), None, noise
            noised = None
            if self.params.mode == "real" and self.params.real_source == "noising":
                levels = batch.noise((len(self.steps), *noise.shape[1:]), "source_steps").clone()
                noised = Noised(self.model.encode(images, noise), levels)
                start = batch.noise(noise.shape[1:], "start").clone()
                source_prompt = None if self.negative is None else alone
            elif self.params.mode == "real":
                start = batch.once(self.inverted, lambda: self._inverted(self.model.encode(images, noise), alone))
                # the source is the picture itself: its inversion walked back under its caption alone
                source_prompt = None if self.negative is None else alone
            latents = start
            for step in guided_sampling(
                self.model,
                start,
                prompt,
                self.steps,
                self.params.guidance_scale,
                terms,
                self.watch,
                source_prompt=source_prompt,
                references=self._references(height, width),
                drawn=self._drawn(batch, noise.shape[1:]),
                noised=noised,
            ):
                latents = step.latents
            return self.model.decode(latents)

    def _drawn(self, batch: Batch, shape: Sequence[int]) -> Tensor | None:
        """(B, steps, C, h, w) noise of the ancestral sampler's steps."""
        if self.params.sampler == "ddim":
            return None
        return batch.noise((len(self.steps), *shape), "steps").clone()

    def _inverted(self, latents: Tensor, prompt: Prompt) -> Tensor:
        for step in inversion_of(self.steps):
            noise = self.model.noise(latents, step.timestep, prompt.caption, prompt.pooled)
            latents = ddim_step(latents, noise, step.alpha_from, step.alpha_to)
        return latents

    def _references(self, height: int, width: int) -> dict[str, Reference]:
        """The reference pictures inverted at this size; the same for all samples, so done once a size."""
        if (height, width) not in self.reference_starts:
            starts = {}
            for name, picture in self.pictures.items():
                image = to_tensor(prepare_image(picture, f"resize_{width}x{height}", self.params.lanczos), signed=True)[
                    None
                ]
                shape = (1, *self.model.latent_shape(height, width))
                latents = self.model.encode(image.to(self.device), torch.zeros(shape, device=self.device))
                starts[name] = self._inverted(latents, self.reference_prompts[name])
            self.reference_starts[height, width] = starts
        starts = self.reference_starts[height, width]
        return {name: Reference(start, self.reference_prompts[name]) for name, start in starts.items()}

    def _bound(self, caption: str) -> Sequence[Term]:
        return [bind(self.model.text, term, caption, self.reference_captions) for term in self.terms]

    def _bound_or_refused(self, caption: str) -> Sequence[Term]:
        try:
            return self._bound(caption)
        except ValueError as error:
            raise BadSample("word_not_in_caption", str(error)) from None


def _watch(model: StableDiffusion, params: SelfGuidanceParams) -> Watch:
    known = cross_attention_layers(model.unet)
    layers = params.layers or [name for name in known if not name.startswith("down_blocks")]
    for name in layers:
        if name not in known:
            raise InputError(f"method.params.layers: the model has no layer '{name}': {nearest(name, known)}")
    blocks = ["mid_block", *(f"up_blocks.{number}" for number in range(len(model.unet.up_blocks)))]
    feature = params.feature or blocks[-1]
    if feature not in blocks:
        raise InputError(f"method.params.feature: the model has no block '{feature}': {nearest(feature, blocks)}")
    resolution = params.resolution
    if resolution is None and params.formulas == "notebook":
        # the largest map: SDXL has no attention at its first level
        levels = list(model.unet.config["down_block_types"])
        first = next((number for number, kind in enumerate(levels) if "CrossAttn" in kind), 0)
        resolution = int(model.unet.config["sample_size"]) >> first
    return Watch(
        layers=tuple(sorted(layers, key=known.index)),
        feature=feature,
        formulas=params.formulas,
        distance=params.distance,
        resolution=resolution,
        strength=params.strength,
        guided=params.guided_steps(),
    )


def _embedded(model: StableDiffusion, text: str) -> Embedded:
    model.text.check(text)
    return model.embed([text])


def _prompt(caption: Embedded, negative: Embedded | None = None) -> Prompt:
    """The prompt of captions, under one negative prompt for all of them."""
    if negative is None:
        return Prompt(caption.states, pooled=caption.pooled)
    count = len(caption.states)
    pooled = None if negative.pooled is None else negative.pooled.expand(count, -1)
    return Prompt(caption.states, negative.states.expand(count, -1, -1), caption.pooled, pooled)


def _picture(uri: str) -> np.ndarray:
    path = store.fetch(uri)
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read ({type(error).__name__})") from None
