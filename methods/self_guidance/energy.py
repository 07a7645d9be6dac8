"""Energies: the distance of a property of chosen tokens from its target (section 3.2 of arXiv 2306.00986)."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from methods.self_guidance import notebook, properties
from methods.self_guidance.params import Distance
from methods.self_guidance.warp import notebook_warped, warped
from methods.self_guidance.warp_spec import UNCHANGED, Warp

Kind = Literal["centroid", "size", "shape", "appearance"]
Formulas = Literal["paper", "notebook"]


@dataclass(frozen=True)
class Observation:
    """What one call of the UNet showed of some samples.

    Attributes:
        maps: by layer, (B, h, w, tokens): probabilities averaged over heads.
        features: (B, C, h, w).
    """

    maps: tuple[Tensor, ...]
    features: Tensor | None

    def rows(self, rows: slice | list[int]) -> Observation:
        """Some of the samples."""
        return Observation(
            tuple(maps[rows] for maps in self.maps), None if self.features is None else self.features[rows]
        )

    def detached(self) -> Observation:
        """The same values without their history."""
        return Observation(
            tuple(maps.detach() for maps in self.maps), None if self.features is None else self.features.detach()
        )


@dataclass(frozen=True)
class Term:
    """One energy, bound to the columns of one prompt.

    Attributes:
        kind: the property.
        columns: token positions, a term for each.
        weight: factor.
        to: the target itself: (x, y) of a centroid, (share,) of a size.
        by: what is added to the source's property.
        factor: what the source's size is multiplied by.
        reference: the reference picture that stands in for the source, if any.
        source_columns: token positions there; ``None`` for the same ones.
        warp: what happens to the source's shape before it is the target.
        raw: compare maps as they are, without a threshold: shapes and sizes.
        threshold: of normalised maps, where a thing begins.
        distance: of this term, in place of the run's.
    """

    kind: Kind
    columns: tuple[int, ...]
    weight: float = 1.0
    to: tuple[float, ...] | None = None
    by: tuple[float, ...] | None = None
    factor: float | None = None
    reference: str | None = None
    source_columns: tuple[int, ...] | None = None
    warp: Warp = UNCHANGED
    raw: bool = False
    threshold: float = properties.THRESHOLD
    distance: Distance | None = None

    @property
    def needs_source(self) -> bool:
        """Whether the target is taken from somewhere."""
        return self.to is None


def energy(
    term: Term,
    seen: Observation,
    source: Observation | None,
    formulas: Formulas = "paper",
    distance: Distance = "l1",
) -> Tensor:
    """(B,): mean difference over tokens and places, averaged over layers; unweighted.

    Appearance uses the last layer's maps only.

    Args:
        seen: the samples as they are, with gradient.
        source: where targets come from, (B or 1, ...) without gradient.
        distance: ``l1`` is the absolute difference, ``l2`` half its square.
    """
    distance = term.distance or distance
    formula: ModuleType = properties if formulas == "paper" else notebook
    columns = list(term.columns)
    there = columns if term.source_columns is None else list(term.source_columns)
    if term.kind == "appearance":
        assert source is not None
        assert seen.features is not None
        assert source.features is not None
        # the gradient changes the features under the mask, not the mask
        found = formula.appearance(seen.maps[-1][..., columns].detach(), seen.features, term.threshold)
        wanted = _paired(formula.appearance(source.maps[-1][..., there], source.features, term.threshold), found)
        return _distance(found, wanted, distance)
    losses = []
    for number, maps in enumerate(seen.maps):
        found = _property(formula, term, maps[..., columns])
        if term.to is not None:
            wanted = torch.tensor(term.to, device=maps.device)
        else:
            assert source is not None
            theirs = source.maps[number][..., there]
            if term.kind == "shape":
                wanted = _target_shape(formulas, term, found, theirs)
            else:
                wanted = _paired(_moved(term, _property(formula, term, theirs)), found)
        losses.append(_distance(found, wanted, distance))
    return torch.stack(losses).mean(0)


def _property(formula: ModuleType, term: Term, maps: Tensor) -> Tensor:
    if term.kind == "centroid":
        return formula.centroid(maps)
    if term.raw:
        return maps.mean((1, 2)) if term.kind == "size" else maps
    return formula.size(maps, term.threshold) if term.kind == "size" else formula.shape(maps, term.threshold)


def _target_shape(formulas: Formulas, term: Term, found: Tensor, theirs: Tensor) -> Tensor:
    """The shape that ``found`` is to take: that of the source's maps ``theirs``, warped."""
    if formulas == "notebook":
        mask = theirs if term.raw else notebook.target_shape(theirs, term.threshold)
        return notebook_warped(mask, notebook.centroid(found)[:, 0], term.warp)
    wanted = _property(properties, term, theirs)
    return wanted if term.warp == UNCHANGED else warped(wanted, properties.centroid(theirs), term.warp)


def _moved(term: Term, wanted: Tensor) -> Tensor:
    if term.factor is not None:
        wanted = term.factor * wanted
    return wanted if term.by is None else wanted + torch.tensor(term.by, device=wanted.device)


def _paired(wanted: Tensor, found: Tensor) -> Tensor:
    """Targets of the source's tokens as targets of ours: one by one where there are as many, else their mean."""
    return wanted if wanted.shape[1] == found.shape[1] else wanted.mean(1, keepdim=True)


def _distance(found: Tensor, wanted: Tensor, distance: Distance) -> Tensor:
    difference = found - wanted
    each = difference.abs() if distance == "l1" else 0.5 * difference.square()
    return each.flatten(1).mean(1)
