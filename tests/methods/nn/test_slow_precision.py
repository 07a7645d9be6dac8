"""A precision that the processor only imitates is said, for jobs and trainings alike."""

from __future__ import annotations

import logging

import pytest
import torch

import methods
from methods.nn.slow_precision import slow_precision


@pytest.fixture(params=[False, True])
def supported(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor with or without instructions for 16 bits."""
    for name in ("_is_mkldnn_bf16_supported", "_is_mkldnn_fp16_supported"):
        monkeypatch.setattr(torch.ops.mkldnn, name, lambda: request.param)
    return request.param


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_sixteen_bits_without_instructions_are_slow(supported: bool, precision: torch.dtype) -> None:
    said = slow_precision(torch.device("cpu"), precision)
    assert (said is None) == supported
    if said is not None:
        assert str(precision).removeprefix("torch.") in said
    assert slow_precision(torch.device("cuda"), precision) is None


def test_float32_never_is(supported: bool) -> None:
    assert slow_precision(torch.device("cpu"), torch.float32) is None


def test_loading_a_method_says_so(supported: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sceneshift"):
        methods.load("cyclegan_turbo", preset="street_day_to_night", dtype="bfloat16")
    assert any("compute.dtype" in each.message for each in caplog.records) != supported
