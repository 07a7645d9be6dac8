"""What the translation did inside each label box: a class that is repainted or dissolved is found by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.lab import to_lab

if TYPE_CHECKING:
    import torch

    from pipeline.labels import Labels

_SMALLEST = 4
# grey levels per two pixels below which a box has no edges to lose
_FAINT = 1.0


class LabelChange:
    """Per box ``structure`` and ``colour``, written with the annotation; the picture has the extremes.

    ``structure`` is one minus the absolute correlation of the gradients of source and output inside the box: 0 for the
    same edges, also where light and dark have changed places, 1 for edges that have nothing in common.
    ``colour`` is the distance of the mean CIELAB colours (CIE 1976 delta E). Columns: ``label_structure``, the largest
    of the picture's boxes, and ``label_colour``, their mean; nan for a picture without a box of at least 4 x 4 pixels.
    A box without edges in the source has no ``structure``.
    """

    name: ClassVar[str] = "label_change"
    columns: ClassVar[tuple[str, ...]] = ("label_structure", "label_colour")
    concurrent: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        del device  # plain numpy

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column, and ``structure`` and ``colour`` of every annotation with a box."""
        structure, colour, annotations = [], [], []
        every = pictures.labels or [None] * len(pictures)
        for source, output, labels in zip(pictures.source, pictures.output, every, strict=True):
            said = _of_boxes(source, output, labels)
            annotations.append(said)
            structure.append(max((each["structure"] for each in said if "structure" in each), default=math.nan))
            shifts = [each["colour"] for each in said if "colour" in each]
            colour.append(float(np.mean(shifts)) if shifts else math.nan)
        return Measured({"label_structure": structure, "label_colour": colour}, annotations=annotations)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: this metric is per sample."""
        return {}


def _of_boxes(source: np.ndarray, output: np.ndarray, labels: Labels | None) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    height, width = output.shape[:2]
    for each in labels.annotations if labels is not None else ():
        if each.bbox is None:
            found.append({})
            continue
        left, top = max(0, math.floor(each.bbox[0])), max(0, math.floor(each.bbox[1]))
        right = min(width, math.ceil(each.bbox[0] + each.bbox[2]))
        bottom = min(height, math.ceil(each.bbox[1] + each.bbox[3]))
        if right - left < _SMALLEST or bottom - top < _SMALLEST:
            found.append({})
            continue
        before, after = source[top:bottom, left:right], output[top:bottom, left:right]
        shift = to_lab(after).mean((0, 1), dtype=np.float64) - to_lab(before).mean((0, 1), dtype=np.float64)
        said = {"colour": round(float(np.linalg.norm(shift)), 4)}
        moved = _structure(before, after)
        found.append(said if moved is None else said | {"structure": round(moved, 4)})
    return found


def _structure(before: np.ndarray, after: np.ndarray) -> float | None:
    """One minus the absolute correlation of the gradients; ``None`` where the source has none."""
    a, b = _gradients(before), _gradients(after)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if np.abs(a).mean() < _FAINT:
        return None
    # an output that has become flat has lost its edges
    return 1.0 - abs(float((a * b).sum())) / length if length > 0 else 1.0


def _gradients(picture: np.ndarray) -> np.ndarray:
    """(2, h, w) differences of the luma, in levels per two pixels."""
    luma = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.stack([luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]])
