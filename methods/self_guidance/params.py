"""The parameters of self-guidance: edits, composed of energy terms."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from methods.nn.image_prep_names import ImagePrep, PreparingParams
from methods.self_guidance.warp_spec import UNCHANGED, Warp
from methods.uris import WeightsUri


def _words_or_all(value: Any) -> Any:
    if isinstance(value, str) and value != "all":
        raise ValueError(f"expected a list of words, such as [{value}], or all")
    return value


def _some(value: Any) -> Any:
    if not value:
        raise ValueError("expected words of the caption as a list, or all")
    return value


SomeWords = Annotated[list[str] | Literal["all"], BeforeValidator(_words_or_all)]
"""Words of a caption, if any, or every token of it."""
Words = Annotated[SomeWords, BeforeValidator(_some)]
"""Words of a caption, or every token of it."""
Point = tuple[float, float]
Weight = Annotated[float, Field(ge=0)]
Distance = Literal["l1", "l2"]
FixedWords = tuple[str, ...] | Literal["all"]


@dataclass(frozen=True)
class TermSpec:
    """One energy term by words of the caption; :class:`methods.self_guidance.energy.Term` is the same by tokens.

    Attributes:
        other_than: words whose tokens are left out of ``words``.
    """

    kind: Literal["centroid", "size", "shape", "appearance"]
    words: FixedWords
    weight: float
    to: tuple[float, ...] | None = None
    by: tuple[float, ...] | None = None
    factor: float | None = None
    reference: str | None = None
    reference_words: FixedWords = ()
    other_than: FixedWords = ()
    warp: Warp = UNCHANGED
    raw: bool = False
    threshold: float = 0.5
    distance: Distance | None = None


def _tuple(words: list[str] | Literal["all"]) -> FixedWords:
    return "all" if words == "all" else tuple(words)


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    distance: Distance | None = None
    """Distance of this edit's terms, in place of the method's ``distance``."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Where on the normalised attention map a thing begins: shapes, sizes and the mask of the appearance."""
    raw_maps: bool = False
    """Compare shapes and sizes on the attention maps as they are, without a threshold."""

    @abstractmethod
    def parts(self) -> list[TermSpec]:
        """The energies of the edit, before what is set for all of them."""

    def terms(self) -> list[TermSpec]:
        """The energies of the edit."""
        common = {"distance": self.distance, "threshold": self.threshold, "raw": self.raw_maps}
        return [replace(part, **common) for part in self.parts()]


class _Change(_Edit):
    """An edit that changes one object and preserves others."""

    words: Words
    """Words of the caption that name the object to change; ``all`` for every token of it, as in the notebook where no
    words are given."""
    keep: SomeWords = []
    """Words that name other objects, whose shape is preserved; ``all`` for every token of the caption that ``words``
    leaves, with those of its start and end, on which what no word names mostly lies."""
    weight: Weight = 2.0
    """Weight of the change itself."""
    shape_weight: Weight = 1.0
    """Weight of preserving the shape of the objects in ``keep``."""
    appearance_weight: Weight = 0.3
    """Weight of preserving the appearance of all objects named."""

    @model_validator(mode="after")
    def _something_is_left(self) -> _Change:
        if self.words == "all" and self.keep:
            raise ValueError("words: all leaves no other object to keep: leave keep out, or name the words")
        return self

    def kept(self) -> list[TermSpec]:
        """The terms that preserve the shape of the others and the appearance of all."""
        words, others = _tuple(self.words), _tuple(self.keep)
        looks = "all" if words == "all" or others == "all" else (*words, *others)
        terms = [TermSpec("appearance", looks, self.appearance_weight)]
        if others:
            terms.insert(0, TermSpec("shape", others, self.shape_weight, other_than=words if others == "all" else ()))
        return terms


class Move(_Change):
    """Move an object."""

    edit: Literal["move"]
    """The kind of edit."""
    by: Point | None = None
    """Offset (x, y), as shares of the image's width and height."""
    to: Point | None = None
    """Position (x, y) of the centroid, likewise; (0, 0) is the upper left corner."""

    @model_validator(mode="after")
    def _one_target(self) -> Move:
        if (self.by is None) == (self.to is None):
            raise ValueError("move needs by or to")
        return self

    def parts(self) -> list[TermSpec]:
        return [TermSpec("centroid", _tuple(self.words), self.weight, to=self.to, by=self.by), *self.kept()]


class Resize(_Change):
    """Resize an object."""

    edit: Literal["resize"]
    """The kind of edit."""
    factor: Annotated[float, Field(gt=0)] | None = None
    """Factor on the object's area."""
    to: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Area of the object, as a share of the image."""

    @model_validator(mode="after")
    def _one_target(self) -> Resize:
        if (self.factor is None) == (self.to is None):
            raise ValueError("resize needs factor or to")
        return self

    def parts(self) -> list[TermSpec]:
        to = None if self.to is None else (self.to,)
        return [TermSpec("size", _tuple(self.words), self.weight, to=to, factor=self.factor), *self.kept()]


class Reshape(_Change):
    """Move, stretch and turn an object by moving, stretching and turning the mask that its shape is to take."""

    edit: Literal["reshape"]
    """The kind of edit."""
    by: Point = (0.0, 0.0)
    """Shift (x, y), as shares of the image's width and height."""
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    """Factors on the object's width and height, about its centroid."""
    rotation: float = 0.0
    """Degrees, clockwise, about its centroid."""

    def parts(self) -> list[TermSpec]:
        warp = Warp(*self.by, *self.scale, self.rotation)
        return [TermSpec("shape", _tuple(self.words), self.weight, warp=warp), *self.kept()]


class Keep(_Edit):
    """Preserve the layout or the appearance of objects, or take it from a reference image."""

    edit: Literal["layout", "appearance"]
    """What is preserved: ``layout`` (position and shape) or ``appearance``."""
    words: Words
    """Words of the caption that name the objects; ``all`` for every token of it, as in the notebook where no words are
    given."""
    weight: Weight = 1.0
    """Weight of the term."""
    reference: str | None = None
    """Name of an image in ``references`` to take it from. None: the source image."""
    reference_words: SomeWords = []
    """Words of the reference's caption that name the objects there, or ``all``. Empty: the same words."""

    @model_validator(mode="after")
    def _words_of_something(self) -> Keep:
        if self.reference_words and self.reference is None:
            raise ValueError("reference_words needs reference")
        return self

    def parts(self) -> list[TermSpec]:
        kind = "shape" if self.edit == "layout" else "appearance"
        there = _tuple(self.reference_words) or _tuple(self.words)
        return [TermSpec(kind, _tuple(self.words), self.weight, reference=self.reference, reference_words=there)]


Edit = Annotated[Move | Resize | Reshape | Keep, Field(discriminator="edit")]


class ReferencePicture(BaseModel):
    """An image whose layout or appearance edits may take."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image: WeightsUri
    """URI of the image."""
    caption: str
    """What it shows, in the words that ``reference_words`` name."""


class SelfGuidanceParams(PreparingParams):
    """Parameters of self-guidance."""

    mode: Literal["real", "generated"] = "real"
    """``real`` edits the image through DDIM inversion; ``generated`` generates an image of the caption from the
    sample's noise and edits that (only the size of the source image is used)."""
    edits: Annotated[list[Edit], Field(min_length=1)]
    """What to do, such as ``{edit: move, words: [car], by: [0.2, 0]}``; the energies of all edits are summed."""
    references: dict[str, ReferencePicture] = Field(default={})
    """Reference images by name, each ``{image, caption}``, for edits with ``reference``."""
    caption: str | None = None
    """What the images show, for all samples. None: each sample's own caption, or the captioner's."""
    captioner: WeightsUri | None = None
    """A BLIP model that captions each image: hub id, folder or URI."""
    negative_prompt: str | None = None
    """Prompt of the unconditional pass. None: no classifier-free guidance for real images, which preserves what no
    edit touches, and an empty prompt for generated ones (SDXL: zeros, as its own pipeline has it)."""
    sampler: Literal["ddim", "ddpm"] = "ddim"
    """``ddim`` adds no noise; ``ddpm`` adds each step's noise again, as the paper's and the notebook's sampler do; the
    source shares it."""
    real_source: Literal["inversion", "noising"] = "inversion"
    """Where targets of a ``real`` image come from: its DDIM ``inversion``, which is also where the edit starts; or
    ``noising`` it to the level of each step, as in the paper: the edit starts from noise, and keeps of the image what
    its terms keep."""
    steps: Annotated[int, Field(ge=1, le=999)] = 50
    """Denoising steps."""
    guidance_scale: Annotated[float, Field(ge=1)] = 7.5
    """Classifier-free guidance scale."""
    strength: Annotated[float, Field(ge=0)] = 1000.0
    """Factor on the gradient of the energy; tune it to model and steps, hundreds to thousands."""
    schedule: Literal["paper", "all"] | list[Annotated[int, Field(ge=0)]] = "paper"
    """Which steps are guided: ``paper`` (the first 3/16, then every second one, none of the last 1/32), ``all``, or a
    list of step numbers."""
    formulas: Literal["paper", "notebook"] = "paper"
    """Formulas of the energies: as in the ``paper``, or as in the ``notebook`` of the author's public demo."""
    distance: Distance = "l1"
    """Distance between a property and its target: ``l1`` as published, or ``l2``, whose gradient fades near it."""
    resolution: Annotated[int, Field(ge=4, le=256)] | None = None
    """Side that attention maps are resized to. None: their own size (with ``notebook``: that of the largest map)."""
    layers: list[str] | None = None
    """Cross-attention layers to use. None: those of the middle block and the decoder."""
    feature: str | None = None
    """Block whose features the appearance term compares. None: the last block of the decoder."""
    image_prep: ImagePrep = "resize_512x512"
    """Size that the model works at: ``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` or
    ``no_resize``."""

    @model_validator(mode="after")
    def _fits_together(self) -> SelfGuidanceParams:
        if self.caption is not None and self.captioner is not None:
            raise ValueError("set either caption or captioner")
        if self.mode == "real" and self.sampler == "ddpm" and self.real_source == "inversion":
            raise ValueError("an inverted image comes back by DDIM alone: set sampler ddim, or real_source noising")
        for term in self.term_specs():
            if term.reference is not None and term.reference not in self.references:
                known = ", ".join(self.references) or "none"
                raise ValueError(f"edits name the reference '{term.reference}', references are: {known}")
        if isinstance(self.schedule, list) and any(number >= self.steps for number in self.schedule):
            raise ValueError(f"schedule names step {max(self.schedule)}, the last of {self.steps} is {self.steps - 1}")
        return self

    def term_specs(self) -> list[TermSpec]:
        """The energies of all edits; those of weight 0 are left out."""
        return [term for edit in self.edits for term in edit.terms() if term.weight > 0]

    def guided_steps(self) -> frozenset[int]:
        """Numbers of the guided steps."""
        if isinstance(self.schedule, list):
            return frozenset(self.schedule)
        if self.schedule == "all":
            return frozenset(range(self.steps))
        full, end = -(-3 * self.steps // 16), self.steps - self.steps // 32
        return frozenset([*range(full), *range(full + 1, end, 2)])
