"""Labelled boxes painted over, as examples of what is no object although it stands where one could."""

from __future__ import annotations

import math

import numpy as np

_COVERED = 0.5
"""Share of a box under others' paint from which on its object is gone too."""
_MARGIN = 3
"""Pixels, exclusive, by which the paint reaches beyond a box at most."""


def erase(image: np.ndarray, corners: np.ndarray, chance: float, rng: np.random.Generator) -> np.ndarray:
    """Paint some boxes over in place, each with one colour: black half of the time, else any.

    Args:
        image: (H, W, 3) uint8.
        corners: (N, 4) left, top, right, bottom in pixels of the image.
        chance: of each box to be painted over, 0 to 1.

    Returns:
        (N,) bool: boxes whose objects can no longer be seen, by their own paint or that of others.
    """
    height, width = image.shape[:2]
    painted = np.zeros((height, width), bool)
    gone = rng.random(len(corners)) < chance
    for left, top, right, bottom in corners[gone]:
        margin = int(rng.integers(_MARGIN))
        colour = np.zeros(3, np.uint8) if rng.random() < 0.5 else rng.integers(0, 256, 3, np.uint8)
        rows = slice(max(0, math.floor(top) - margin), math.ceil(bottom) + margin)
        columns = slice(max(0, math.floor(left) - margin), math.ceil(right) + margin)
        image[rows, columns] = colour
        painted[rows, columns] = True
    for at, (left, top, right, bottom) in enumerate(corners):
        inside = painted[max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)]
        gone[at] |= inside.size > 0 and inside.mean() >= _COVERED
    return gone
