"""From a method's tensor to pixels: the official truncation, and values that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.base import to_uint8
from pipeline.records import Rejection
from pipeline.translate.pixels import pixels_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_as_the_official_programs_write_them(dtype: torch.dtype) -> None:
    images = (torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2).to(dtype)
    found = pixels_of(images)
    assert all(isinstance(each, np.ndarray) and each.shape == (5, 7, 3) for each in found)
    np.testing.assert_array_equal(np.stack([each for each in found if isinstance(each, np.ndarray)]), to_uint8(images))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_picture_with_a_value_that_is_no_number_is_refused_alone(value: float) -> None:
    images = torch.zeros(3, 3, 4, 4)
    images[1, 2, 3, 0] = value
    first, second, third = pixels_of(images)
    assert isinstance(second, Rejection)
    assert second.error == "not_finite"
    for each in (first, third):
        assert isinstance(each, np.ndarray)
        assert (each == 127).all()


def test_large_finite_values_are_no_fault() -> None:
    """Their sum is infinite; they themselves are not."""
    (found,) = pixels_of(torch.full((1, 3, 4, 4), 3e38))
    assert isinstance(found, np.ndarray)
    assert (found == 255).all()
