"""What a detector is, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first.

    Attributes:
        boxes: (N, 4) float64, left, top, right, bottom in pixels of the picture.
        scores: (N,) float64, 0 to 1.
        classes: N names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]

    def above(self, score: float) -> Detections:
        """Those of at least this score."""
        kept = np.flatnonzero(self.scores >= score)
        return Detections(self.boxes[kept], self.scores[kept], tuple(self.classes[at] for at in kept))

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """A loaded detector."""

    classes: tuple[str, ...]
    """The names of what it knows."""
    aliases: dict[str, str]
    """Classes of labels that it was taught under another name, besides those that
    :func:`methods.nn.detection.names.known_as` knows."""

    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        """What of at least ``score`` is in each of some (H, W, 3) uint8 pictures of any sizes.

        The result of a picture does not depend on those beside it.
        """
        ...
