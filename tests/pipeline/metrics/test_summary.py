"""Running summaries: the same figures whatever the order and the grouping."""

from __future__ import annotations

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics.summary import Summary

values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=40)


def of(numbers: list[float]) -> Summary:
    summary = Summary()
    summary.add(numbers)
    return summary


def close(a: Summary, b: Summary) -> bool:
    return (
        (a.count, a.nan_count, a.min, a.max) == (b.count, b.nan_count, b.min, b.max)
        and a.mean == pytest.approx(b.mean, rel=1e-9, abs=1e-6)
        and a.m2 == pytest.approx(b.m2, rel=1e-9, abs=1e-3)
    )


@given(groups=st.lists(values, max_size=6), order=st.randoms())
def test_merging_in_any_order_and_grouping_is_adding_all(groups: list[list[float]], order) -> None:
    everything = of([value for group in groups for value in group])
    shuffled = list(groups)
    order.shuffle(shuffled)
    left = Summary()
    for group in shuffled:
        left.merge(of(group))
    assert close(left, everything)
    tree = [of(group) for group in shuffled] or [Summary()]
    while len(tree) > 1:
        a, b = tree.pop(), tree.pop(0)
        a.merge(b)
        tree.append(a)
    assert close(tree[0], everything)


@given(numbers=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=50))
def test_against_the_statistics_module(numbers: list[float]) -> None:
    found = of(numbers).as_dict()
    assert found["mean"] == pytest.approx(statistics.fmean(numbers), abs=1e-6)
    assert found["std"] == pytest.approx(statistics.stdev(numbers), rel=1e-6, abs=1e-6)
    assert (found["min"], found["max"], found["count"]) == (min(numbers), max(numbers), len(numbers))


@pytest.mark.parametrize(
    ("count", "t"),
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (8, 2.365), (11, 2.228), (31, 2.042), (1001, 1.962)],
)
def test_confidence_interval_is_students(count: int, t: float) -> None:
    numbers = [float(at % 2) for at in range(count)]
    found = of(numbers).as_dict()
    half = t * statistics.stdev(numbers) / math.sqrt(count)
    assert found["ci95"] == pytest.approx([found["mean"] - half, found["mean"] + half], abs=0.002 * half)


def test_nothing_and_next_to_nothing() -> None:
    assert of([]).as_dict() == {
        "count": 0, "nan_count": 0, "mean": None, "std": None, "ci95": None, "min": None, "max": None,
    }  # fmt: skip
    single = of([3.0, math.nan, -math.inf]).as_dict()
    assert (single["count"], single["nan_count"], single["mean"], single["std"]) == (1, 2, 3.0, None)
    json.dumps([of([]).as_dict(), single], allow_nan=False)
