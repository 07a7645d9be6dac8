"""Our run-length codec against COCO's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as official

from pipeline.labels import fields, rle

masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40), elements=st.integers(0, 1)
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
@settings(max_examples=80, deadline=None)
@given(mask=masks)
def test_same_string_as_pycocotools_and_back(mask: np.ndarray) -> None:
    ours = rle.encode(mask)
    theirs: Any = official.encode(np.asfortranarray(mask))
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(rle.decode(ours), mask)
    np.testing.assert_array_equal(official.decode(theirs), rle.decode(ours))


@given(lengths=st.lists(st.integers(0, 10**9), max_size=30))
def test_any_run_lengths_survive(lengths: list[int]) -> None:
    assert rle.runs(rle.compress(lengths)) == lengths


def test_long_runs_like_a_photo() -> None:
    mask = np.zeros((480, 640), np.uint8)
    mask[100:400, 30:600] = 1
    mask[200:210] = 0
    theirs: Any = official.encode(np.asfortranarray(mask))
    assert rle.encode(mask)["counts"] == theirs["counts"].decode()


@pytest.mark.parametrize("counts", ["\n", "abc\x80", "P", "\u00ff"])
def test_broken_strings_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="run-length"):
        rle.runs(counts)


def test_runs_must_fill_the_mask() -> None:
    with pytest.raises(ValueError, match="add up"):
        rle.decode({"size": [4, 4], "counts": rle.compress([3, 4])})


def test_a_mask_that_claims_billions_of_pixels_is_refused_before_it_is_made() -> None:
    huge = {"size": [24_000, 36_000], "counts": [24_000 * 36_000]}
    with pytest.raises(ValueError, match="36000 x 24000, larger than any picture"):
        fields.rle(huge, "segmentation")
    with pytest.raises(ValueError, match="larger than any picture"):
        rle.decode({"size": huge["size"], "counts": rle.compress(huge["counts"])})
