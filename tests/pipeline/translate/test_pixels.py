"""From a method's tensor to pixels: the official truncation, and values that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.base import to_uint8
from methods.registry import registered
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


def test_methods_whose_release_rounds_are_rounded() -> None:
    # 100.2, 100.5, 100.7 and 101.5 of 255, and what lies outside
    values = torch.tensor([100.2, 100.5, 100.7, 101.5, -3.0, 258.0])
    images = (values / 255 * 2 - 1).expand(1, 3, 1, 6)
    (cut,) = pixels_of(images)
    (rounded,) = pixels_of(images, rounded=True)
    assert isinstance(cut, np.ndarray)
    assert isinstance(rounded, np.ndarray)
    np.testing.assert_array_equal(rounded, to_uint8(images, rounded=True)[0])
    assert [*cut[0, [0, 2, 4, 5], 0]] == [100, 100, 0, 255]
    assert [*rounded[0, [0, 2, 4, 5], 0]] == [100, 101, 0, 255]
    assert {name for name, info in registered().items() if info.rounded} >= {"pix2pix_zero", "piti", "diffusers"}
