"""Figures of whole sets by metrics that combine features themselves."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pipeline.output.set_figures import figures_of


class _Features:
    """Two features of each of three pictures, without ranks."""

    names = ("pair",)

    def all(self, name: str) -> np.ndarray:
        return np.arange(6.0).reshape(3, 2)

    def sample(self, name: str, count: int) -> np.ndarray | None:
        raise AssertionError("a metric that combines features itself takes no sample")


class _Mean:
    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        return {"pair_mean": float(features["pair"].mean())}


class _PerPicture:
    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        return {}


@pytest.mark.parametrize("filtered", [False, True])
def test_a_figure_that_does_not_follow_a_filter_is_said_to_be_of_all_pictures(filtered: bool) -> None:
    job = cast("Any", SimpleNamespace(spec=SimpleNamespace(metrics_reference=None)))
    figures, notes = figures_of(job, _Features(), [_Mean(), _PerPicture()], filtered=filtered)
    assert figures == {"pair_mean": 2.5}
    assert notes == (["pair_mean: of all pictures, also of those that the filter has taken away"] if filtered else [])
