"""Intervals of what has bounds stay in them, however few and extreme the values are."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.labels.check_table import wilson
from pipeline.metrics.bounds import _BOUNDS, bounds
from pipeline.metrics.catalogue import BUILT_IN
from pipeline.metrics.summary import Summary
from pipeline.output.compare.pairing import paired_figures
from pipeline.sink.schema import METRIC

NAMES = sorted(_BOUNDS)


def test_a_share_of_few_pictures_ends_at_one() -> None:
    seen = Summary()
    seen.add([1.0, 1.0, 1.0, 0.8])
    assert seen.as_dict()["ci95"][1] > 1
    assert seen.as_dict(*bounds("labels.survival"))["ci95"][1] == 1


@st.composite
def column(draw: st.DrawFn) -> tuple[str, list[float], list[float]]:
    """A metric, and values that it may have of two outputs; many at its bounds."""
    name = draw(st.sampled_from(NAMES))
    low, high = bounds(name)
    some = st.floats(max(low, -1e4), min(high, 1e4)) | st.sampled_from([each for each in (low, high) if isfinite(each)])
    pairs = draw(st.lists(st.tuples(some, some), min_size=1, max_size=70))
    return name, [one for one, _ in pairs], [other for _, other in pairs]


@given(column())
def test_intervals_stay_in_bounds_and_hold_the_mean(given: tuple[str, list[float], list[float]]) -> None:
    name, first, second = given
    low, high = bounds(name)
    seen = Summary()
    seen.add(first)
    said, plain = seen.as_dict(low, high), seen.as_dict()
    if said["ci95"] is not None:
        slack = 1e-9 * max(1.0, abs(said["mean"]))
        assert low - slack <= said["ci95"][0] <= said["mean"] <= said["ci95"][1] <= high + slack
        assert plain["ci95"][0] <= said["ci95"][0]
        assert said["ci95"][1] <= plain["ci95"][1]
    (found,) = paired_figures({METRIC + name: np.array(first)}, {METRIC + name: np.array(second)})
    if found.interval is not None:
        slack = 1e-9 * max(1.0, abs(found.difference))
        assert low - high - slack <= found.interval[0] <= found.interval[1] <= high - low + slack
        if len(first) < 50:  # a bootstrap's percentiles need not
            assert found.interval[0] <= found.difference <= found.interval[1]


@given(st.integers(1, 3000), st.floats(0, 1))
def test_wilson_is_scipy_s(trials: int, share: float) -> None:
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    found = wilson(successes, trials)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= found[0] <= successes / trials <= found[1] <= 1


def test_names_are_those_of_metrics_and_their_variants() -> None:
    columns = {name for each in BUILT_IN for name in (*each.columns, *([each.name] if each.of_set else []))}
    assert sorted(each for each in _BOUNDS if each not in columns) == []
    assert bounds("lpips_vgg_target") == (0, inf)
    assert bounds("ssim_downsampled") == (-1, 1)
    assert bounds("fid_clean_source") == (0, inf)
    assert bounds("kid") == bounds("colour_a") == bounds("structured") == (-inf, inf)
