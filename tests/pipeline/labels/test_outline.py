"""Masks to polygons and back: exactly the same pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from pipeline.labels.outline import Polygon, fill, join, outlines


def filled(loops: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """By the even-odd rule over all loops together, so that a loop within another is a hole."""
    mask = np.zeros((size[1], size[0]), bool)
    for loop in loops:
        mask ^= fill([loop], size)
    return mask


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


@settings(max_examples=300, deadline=None)
@given(masks)
def test_loops_fill_to_the_mask_they_came_from(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    loops = outlines(mask)
    assert np.array_equal(filled(loops, size), mask)
    if loops:
        assert np.array_equal(fill([join(loops)], size), mask)
    else:
        assert not mask.any()


def test_a_square_is_four_corners_and_a_hole_is_a_loop() -> None:
    mask = np.ones((5, 5), bool)
    assert outlines(mask) == [[0, 0, 5, 0, 5, 5, 0, 5]]
    mask[2, 2] = False
    assert len(outlines(mask)) == 2
    corner = np.array([[1, 0], [0, 1]], bool)
    assert len(outlines(corner)) == 2  # pixels that touch at a corner are two loops


def test_other_programs_fill_the_joined_polygon_alike() -> None:
    y, x = np.mgrid[0:120, 0:160]
    ring = ((x - 50) ** 2 + (y - 60) ** 2 < 40**2) & ((x - 50) ** 2 + (y - 60) ** 2 > 15**2)
    mask = ring | ((x > 110) & (x < 150) & (y > 20) & (y < 100))
    polygons: Any = [join(outlines(mask))]
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 120, 160))).astype(bool)
    assert (theirs & mask).sum() / (theirs | mask).sum() > 0.98


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-20, 40), st.floats(-20, 40)), min_size=3, max_size=8))
def test_fill_never_leaves_the_picture(points: list[tuple[float, float]]) -> None:
    flat = [value for point in points for value in point]
    assert fill([flat], (20, 10)).shape == (10, 20)
