"""Resizing in a worker, beside Pillow's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.nn.resample import resample
from pipeline import codec

side = st.integers(1, 90)


@settings(max_examples=80)
@given(side, side, side, side, st.sampled_from(["bicubic", "lanczos"]), st.integers(0, 99))
def test_within_two_levels_of_pillow(
    height: int, width: int, new_height: int, new_width: int, filter: Literal["bicubic", "lanczos"], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = resample(pixels, (new_width, new_height), filter)
    rows = codec.resize(pixels, (new_width, height), filter)
    expected = codec.resize(rows, (new_width, new_height), filter)
    assert found.shape == expected.shape == (new_height, new_width, 3)
    assert found.flags.c_contiguous
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("filter", ["bicubic", "lanczos"])
def test_few_pixels_differ_on_a_photograph(filter: Literal["bicubic", "lanczos"]) -> None:
    from jobs.streets import Frame, Scene

    day = Frame(Scene(3), 320, 180).render("day")
    for size in ((128, 72), (128, 128), (512, 288), (100, 300)):
        off = np.abs(resample(day, size, filter).astype(int) - codec.resize(day, size, filter))
        assert (off > 0).mean() < 0.02
        assert off.mean() < 0.02


def test_nothing_is_done_where_nothing_is_to_do() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert resample(pixels, (6, 4)) is pixels
    assert resample(pixels[:, ::-1], (3, 2)).shape == (2, 3, 3)
