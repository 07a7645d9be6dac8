"""Depth maps to the colours that PITI's geometry model was trained on (the rendering of DIODE)."""

from __future__ import annotations

from functools import cache

import numpy as np

from methods.errors import BadSample

NEAREST, FARTHEST = 0.5, 300.0
"""Metres to which depth is clipped."""

# corners of the "jet" colour map, (position, value) by channel
_JET = (
    ((0.0, 0.0), (0.35, 0.0), (0.66, 1.0), (0.89, 1.0), (1.0, 0.5)),
    ((0.0, 0.0), (0.125, 0.0), (0.375, 1.0), (0.64, 1.0), (0.91, 0.0), (1.0, 0.0)),
    ((0.0, 0.5), (0.11, 1.0), (0.34, 1.0), (0.65, 0.0), (1.0, 0.0)),
)


@cache
def _jet() -> np.ndarray:
    places = np.linspace(0, 1, 256)
    channels = [np.interp(places, [at for at, _ in corners], [value for _, value in corners]) for corners in _JET]
    return (np.stack(channels, axis=1) * 255).astype(np.uint8)


def depth_colours(depth: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) uint8 or uint16 depth -> (H, W, 3) uint8: the logarithm of metres in "jet", unknown depth black.

    Args:
        depth: 0 is unknown.
        scale: metres a unit.

    Raises:
        BadSample: ``not_a_depth_map`` for a colour picture, or when no pixel has a depth.
    """
    if depth.ndim != 2:
        raise BadSample("not_a_depth_map", "found a colour picture, expected depth in one channel (16-bit PNG)")
    known = depth > 0
    if not known.any():
        raise BadSample("not_a_depth_map", "no pixel has a depth (all are 0)")
    metres = depth.astype(np.float64) * scale
    farthest = max(NEAREST, min(FARTHEST, float(np.percentile(metres, 99))))
    # of the released preparation: 0 is black, and the last colour lies just beyond the farthest depth
    share = np.log(np.clip(metres, NEAREST, farthest)) / np.log(farthest + 1.01)
    colours = _jet()[np.clip(share * 256, 0, 255).astype(np.intp)]
    colours[~known] = 0
    return colours
