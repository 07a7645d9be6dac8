"""Sketches and edges to the distance maps that PITI's sketch models read."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from methods.errors import BadSample
from methods.piti.conditions.squash import squash_nearest, squash_smooth

LINE = 255


def grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint8 luma."""
    return np.array(Image.fromarray(pixels).convert("L"))


def distance_map(lines: np.ndarray) -> np.ndarray:
    """(256, 256) uint8 with lines at exactly 255 -> city-block distance to the nearest line, cut off at 255."""
    # OpenCV measures the distance to zero pixels; with no line at all its answer is beyond any cut
    distance = cv2.distanceTransform(LINE - lines, cv2.DIST_L1, 3)
    return np.clip(distance, 0, 255).astype(np.uint8)


def check_sketch(lines: np.ndarray) -> np.ndarray:
    """A sketch (H, W) uint8 as it is.

    Raises:
        BadSample: ``not_a_sketch`` for a photo, ``inverted_sketch`` for dark lines on white, ``empty_sketch`` for one
            without a line: it would be PITI's unconditional input.
    """
    between = float(np.mean((lines > 16) & (lines < 239)))
    if between > 0.5:
        raise BadSample(
            "not_a_sketch", f"{between:.0%} of the pixels are neither black nor white, expected white lines on black"
        )
    white = float(np.mean(lines == LINE))
    if white > 0.5:
        raise BadSample("inverted_sketch", f"{white:.0%} of the pixels are white, expected white lines on black")
    if not white:
        raise BadSample("empty_sketch", f"no pixel is {LINE}, expected white lines on black")
    return lines


def sketch_lines(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) sketch -> (256, 256) uint8. Raises BadSample as :func:`check_sketch`."""
    return squash_nearest(check_sketch(grey(pixels)))


def canny_lines(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W, 3) photo -> (256, 256) uint8 of Canny's edges with these hysteresis thresholds on the squashed photo."""
    return cv2.Canny(grey(squash_smooth(pixels)), low, high)
