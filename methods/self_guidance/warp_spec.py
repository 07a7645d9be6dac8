"""What is done to the mask that a shape is to take; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Warp:
    """What happens to a mask, about a centre of its own.

    Attributes:
        dx, dy: shift to the right and down, as shares of width and height.
        sx, sy: factors on width and height.
        rotation: degrees, clockwise.
    """

    dx: float = 0.0
    dy: float = 0.0
    sx: float = 1.0
    sy: float = 1.0
    rotation: float = 0.0


UNCHANGED = Warp()
"""The mask as it is."""
