"""What a user can set on self-guidance: edits, composed of terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from methods.base import MethodParams
from methods.cyclegan_turbo.params import check_image_prep

Words = Annotated[list[str], Field(min_length=1)]
Point = tuple[float, float]
Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class TermSpec:
    """One energy in words: what :class:`methods.self_guidance.energy.Term` is for one caption."""

    kind: Literal["centroid", "size", "shape", "appearance"]
    words: tuple[str, ...]
    weight: float
    to: tuple[float, ...] | None = None
    by: tuple[float, ...] | None = None
    factor: float | None = None
    reference: str | None = None
    reference_words: tuple[str, ...] = ()


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def terms(self) -> list[TermSpec]:
        """The energies that the edit stands for."""
        raise NotImplementedError


class _Change(_Edit):
    """What changes one thing and keeps others.

    Attributes:
        words: the thing.
        keep: other things, whose form stays.
        weight, shape_weight, appearance_weight: of the change, of the kept forms, of all kept looks.
    """

    words: Words
    keep: list[str] = []
    weight: Weight = 2.0
    shape_weight: Weight = 1.0
    appearance_weight: Weight = 0.3

    def kept(self) -> list[TermSpec]:
        """The form of the others and the look of all."""
        others = tuple(self.keep)
        terms = [TermSpec("shape", others, self.shape_weight)] if others else []
        return [*terms, TermSpec("appearance", (*self.words, *others), self.appearance_weight)]


class Move(_Change):
    """Move things ``by`` (x, y) of the picture's sides, or ``to`` a place; 0, 0 is the upper left corner."""

    edit: Literal["move"]
    by: Point | None = None
    to: Point | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Move:
        if (self.by is None) == (self.to is None):
            raise ValueError("move needs by or to")
        return self

    def terms(self) -> list[TermSpec]:
        return [TermSpec("centroid", tuple(self.words), self.weight, to=self.to, by=self.by), *self.kept()]


class Resize(_Change):
    """Resize things by a ``factor`` of their area, or ``to`` a share of the picture."""

    edit: Literal["resize"]
    factor: Annotated[float, Field(gt=0)] | None = None
    to: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Resize:
        if (self.factor is None) == (self.to is None):
            raise ValueError("resize needs factor or to")
        return self

    def terms(self) -> list[TermSpec]:
        to = None if self.to is None else (self.to,)
        return [TermSpec("size", tuple(self.words), self.weight, to=to, factor=self.factor), *self.kept()]


class Keep(_Edit):
    """Keep the ``layout`` (the form) or the ``appearance`` of things: of the source, or of a reference picture.

    Attributes:
        words: the things in this picture.
        reference: a picture of ``references`` that lends its own.
        reference_words: the things there; the same words if left out.
    """

    edit: Literal["layout", "appearance"]
    words: Words
    weight: Weight = 1.0
    reference: str | None = None
    reference_words: list[str] = []

    @model_validator(mode="after")
    def _words_of_something(self) -> Keep:
        if self.reference_words and self.reference is None:
            raise ValueError("reference_words needs reference")
        return self

    def terms(self) -> list[TermSpec]:
        kind = "shape" if self.edit == "layout" else "appearance"
        there = tuple(self.reference_words) or tuple(self.words)
        return [TermSpec(kind, tuple(self.words), self.weight, reference=self.reference, reference_words=there)]


Edit = Annotated[Move | Resize | Keep, Field(discriminator="edit")]


class ReferencePicture(BaseModel):
    """A picture that lends form or look: where it lies, and a caption with the words that edits name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    caption: str


class SelfGuidanceParams(MethodParams):
    """Parameters of self-guidance.

    Attributes:
        mode: ``real`` edits the picture through DDIM inversion; ``generated`` paints the caption from the sample's
            noise and edits that (of the picture only the size is used).
        edits: what to do; their energies add up.
        references: pictures that edits may borrow from, by name.
        caption: what the picture shows, for all samples. None: the samples' own captions, or the captioner's.
        captioner: a BLIP model (hub id, folder, URI) that captions every picture.
        negative_prompt: None takes no classifier-free guidance for real pictures, which keeps what no edit touches,
            and an empty prompt for generated ones.
        steps: DDIM steps.
        guidance_scale: of classifier-free guidance.
        strength: factor on the energy's gradient. It must be tuned to model and steps: hundreds to thousands.
        schedule: which steps are guided: ``paper`` (the first 3/16, every second after, none of the last 1/32),
            ``all``, or their numbers.
        formulas: ``paper``, or ``notebook`` for the arithmetic of the author's public demo.
        distance: between a property and its target: ``l1`` as published, or ``l2``, which pulls less the nearer it is.
        resolution: side that maps are resized to; None keeps theirs (``notebook``: takes the largest map's).
        layers: cross-attention layers to use. None: those of the middle and the upward blocks.
        feature: the block that appearance compares. None: the last upward block.
        image_prep: the size worked at, as of CycleGAN-Turbo.
    """

    mode: Literal["real", "generated"] = "real"
    edits: Annotated[list[Edit], Field(min_length=1)]
    references: dict[str, ReferencePicture] = Field(default_factory=dict)
    caption: str | None = None
    captioner: str | None = None
    negative_prompt: str | None = None
    steps: Annotated[int, Field(ge=1, le=999)] = 50
    guidance_scale: Annotated[float, Field(ge=1)] = 7.5
    strength: Annotated[float, Field(ge=0)] = 1000.0
    schedule: Literal["paper", "all"] | list[Annotated[int, Field(ge=0)]] = "paper"
    formulas: Literal["paper", "notebook"] = "paper"
    distance: Literal["l1", "l2"] = "l1"
    resolution: Annotated[int, Field(ge=4, le=256)] | None = None
    layers: list[str] | None = None
    feature: str | None = None
    image_prep: Annotated[str, AfterValidator(check_image_prep)] = "resize_512x512"

    @model_validator(mode="after")
    def _fits_together(self) -> SelfGuidanceParams:
        if self.caption is not None and self.captioner is not None:
            raise ValueError("set either caption or captioner")
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
