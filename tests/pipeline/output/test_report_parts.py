"""What the report is made of: chosen samples, charts, reasons, speeds, and how numbers read."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import quantity
from pipeline.devices import DEVICES
from pipeline.output.report.ceiling import Ceiling
from pipeline.output.report.choose import INVENTED, MOST_INVENTED, SPREAD, SPREAD_SHARDS, choose
from pipeline.output.report.plots import histogram, rate, spans, ticks
from pipeline.output.report.reasons import reasons
from pipeline.output.report.speed import (
    NodeSpan,
    RunSpeed,
    idle_seconds,
    node_spans,
    rates,
    run_speeds,
    seconds_by_worker,
)


def table(statuses: list[str], shards: list[int], values: list[float | None]) -> pa.Table:
    keys = [f"k{n:04d}" for n in range(len(statuses))]
    named = [f"s{number}" for number in shards]
    errors = pa.array([None if status == "ok" else "truncated" for status in statuses], pa.string())
    columns = {"key": keys, "status": pa.array(statuses, pa.string()), "shard": pa.array(named, pa.string())}
    return pa.table(columns | {"error": errors, "metric.m": pa.array(values, pa.float64())})


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ok", "ok", "rejected"]),
            st.integers(0, 30),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=120,
    ),
    st.integers(0, 40),
)
def test_chosen_samples_are_few_ok_and_different(rows, count):
    index = table([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    chosen = choose(index, count, ["metric.m"])
    keys = [choice.row["key"] for choice in chosen]
    assert len(keys) == len(set(keys))
    good = [row for row in index.to_pylist() if row["status"] == "ok"]
    spread = [choice.row for choice in chosen if SPREAD in choice.groups]
    assert all(row["status"] == "ok" for row in spread)
    assert len(spread) <= count
    assert len({row["shard"] for row in spread}) <= SPREAD_SHARDS
    if len({row["shard"] for row in good}) <= SPREAD_SHARDS:
        assert len(spread) == min(count, len(good))
    known = sorted(row["metric.m"] for row in good if row["metric.m"] is not None)
    each = min(4, max(1, count // 6), len(known) // 2) if count else 0
    assert sorted(choice.row["metric.m"] for choice in chosen if "low:m" in choice.groups) == known[:each]
    assert (
        sorted(choice.row["metric.m"] for choice in chosen if "high:m" in choice.groups) == known[len(known) - each :]
    )
    rejected = [choice for choice in chosen if "rejected" in choice.groups]
    assert len(rejected) == (min(8, len(rows) - len(good)) if count else 0)


def test_what_was_invented_has_a_gallery_however_many_metrics_there_are():
    """The most first; pictures without any are in none."""
    invented = [0.0, 2.0, None, 1.0, 5.0, 3.0]
    rows = table(["ok"] * 5 + ["filtered"], [0] * 6, [1.0] * 6)
    names = [f"metric.m{n}" for n in range(6)]
    for name in names:
        rows = rows.append_column(name, pa.array([1.0] * 6))
    rows = rows.append_column(INVENTED, pa.array(invented, pa.float64()))
    found = choose(rows, 24, [*names, INVENTED])
    shown = {each.row["key"] for each in found if MOST_INVENTED in each.groups}
    assert shown == {"k0001", "k0003", "k0004"}
    assert not [each for each in found if "low:labels.invented" in each.groups]
    few = [each.row["key"] for each in choose(rows, 6, [INVENTED]) if MOST_INVENTED in each.groups]
    assert few == ["k0004"]


def test_the_spread_reaches_from_end_to_end():
    index = table(["ok"] * 1000, [n // 50 for n in range(1000)], [None] * 1000)
    keys = [choice.row["key"] for choice in choose(index, 24)]
    assert keys[0] == "k0000"
    assert keys[-1] == "k0999"
    assert keys == sorted(keys)
    shards = sorted({int(key[1:]) // 50 for key in keys})
    assert shards == [0, 4, 8, 11, 15, 19]


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(-1e9, 1e9) | st.sampled_from([np.nan, np.inf]), max_size=50))
def test_a_histogram_counts_every_finite_value(values):
    array = np.array(values)
    svg = str(histogram(array, "<m>"))
    expected = int(np.isfinite(array).sum())
    if not expected:
        assert "no values" in svg
        return
    root = ElementTree.fromstring(svg)
    titles = [bar.findtext("title") or "" for bar in root.iter("rect")]
    assert sum(int(title.rpartition(": ")[2]) for title in titles) == expected


@settings(deadline=None, max_examples=100)
@given(finite, finite, st.integers(2, 8))
def test_ticks_are_few_sorted_and_inside(one, two, about):
    low, high = sorted((one, two))
    found = ticks(low, high, about)
    assert len(found) <= about + 2
    assert found == sorted(found)
    slack = 1e-6 * max(abs(low), abs(high), 1e-300)
    assert all(low - slack <= tick <= high + slack for tick in found)


# Clocks count in steps, not in the smallest numbers that a float can hold.
_SECONDS = st.integers(0, 50_000).map(lambda milliseconds: milliseconds / 1000)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(_SECONDS, _SECONDS, st.integers(0, 500)), min_size=1, max_size=30),
    st.integers(1, 60),
)
def test_throughput_adds_up_to_all_images(shards, bins):
    started = np.array([s for s, _, _ in shards])
    ended = started + np.array([d for _, d, _ in shards])
    images = np.array([n for _, _, n in shards])
    started, ended = started - started.min(), ended - started.min()
    seconds = float(ended.max())
    found = rates(started, ended, images, seconds, bins)
    assert (found >= 0).all()
    if seconds > 0:
        assert np.isclose(found.sum() * seconds / bins, images.sum())
    ElementTree.fromstring(str(rate(seconds, found, 1.0, "t")))


def test_idle_time_is_when_nothing_is_in_work():
    started, ended = np.array([0.0, 1.0, 10.0, 3.0]), np.array([2.0, 5.0, 11.0, 4.0])
    assert idle_seconds(started, ended) == 5.0
    flat = rates(started, ended, np.full(4, 10), 11.0, 11)
    assert (flat[5:10] == 0).all()
    assert flat[0] == 5.0


def runs() -> pa.Table:
    rows = [
        {"run": run, "shard": f"s{n}", "worker": f"w{n % 3}", "started": at + n, "committed": at + n + 1 + (n % 3)}
        for run, at in (("b", 5000.0), ("a", 1000.0))
        for n in range(6)
    ]
    same = {"source": "x", "translated": 0.0, "ok": 3, "filtered": 1, "rejected": 0, "device_seconds": 0.5}
    more = {"bytes_in": 10, "bytes_out": 20, "device": "NVIDIA H100 80GB HBM3", "operations": None}
    return pa.Table.from_pylist([row | same | more for row in rows])


def test_runs_are_told_apart():
    first, second = run_speeds(runs())
    assert (first.run, second.run) == ("a", "b")
    assert (first.began, first.seconds, first.images, first.shards) == (1000.0, 8.0, 24, 6)
    assert first.mean == 3.0
    assert first.workers == 3
    assert first.busy == 3.0 / (3 * 8.0)
    assert (first.bytes_in, first.bytes_out) == (60, 120)


def test_the_method_alone_is_as_fast_as_its_devices():
    first, _ = run_speeds(runs())
    assert first.unhindered == 24 * 3 / 3.0


def counted(*devices: str | None) -> RunSpeed:
    """Run a, whose workers w0, w1, ... have these devices; each of them counted 2 TFLOP a picture at its end."""
    rows = [row for row in runs().to_pylist() if row["run"] == "a" and int(row["worker"][1:]) < len(devices)]
    for number, row in enumerate(rows):
        row["device"] = devices[int(row["worker"][1:])]
        row["operations"] = 2 * 10**12 if number >= len(devices) else None
    (speed,) = run_speeds(pa.Table.from_pylist(rows))
    return speed


def test_a_ceiling_is_what_data_sheets_say_over_what_was_counted():
    h100, l4 = DEVICES["H100"], DEVICES["L4"]
    same = counted("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3")
    found = Ceiling.of(same, "bfloat16", 1)
    assert found.most == pytest.approx(2 * h100.half / 2)
    assert found.said == f"2 x H100 ({h100.half} TFLOP/s in bfloat16, of its data sheet)"
    # 8 images per second of its device time, at 2 TFLOP each
    assert found.tflops == pytest.approx(16)
    assert (found.counted, found.rate) == ("2.000 TFLOP", "16.00 TFLOP/s")
    assert Ceiling.of(same, "float32", 1).most == pytest.approx(2 * h100.single / 2)
    # two workers that share one
    assert Ceiling.of(same, "float16", 0.5).most == pytest.approx(h100.half / 2)
    both = Ceiling.of(counted("NVIDIA H100 80GB HBM3", "NVIDIA L4"), "float16", 1)
    assert both.most == pytest.approx((h100.half + l4.half) / 2)
    assert " and 1 x L4 (" in both.said


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        (("cpu", "cpu"), "no ceiling is known of a CPU"),
        (("NVIDIA H100 80GB HBM3", "Fox 9"), "no data sheet is known of Fox 9"),
        ((None, "cpu"), "no data sheet is known of unnamed, cpu"),
    ],
)
def test_a_ceiling_that_is_not_known_says_why(devices, said):
    found = Ceiling.of(counted(*devices), "float32", 1)
    assert (found.most, found.said, found.counted) == (None, said, "2.000 TFLOP")
    first, _ = run_speeds(runs())
    nothing = Ceiling.of(first, "float32", 1)
    assert (nothing.most, nothing.tflops, nothing.counted) == (None, None, None)
    assert nothing.said == "no operations of the method are counted in this run"


def test_machines_come_and_go():
    """b1 takes the place of a process of b that died; c comes when a has gone."""
    same = {"source": "x", "translated": 0.0, "ok": 2, "filtered": 1, "rejected": 1, "device_seconds": 0.5}
    at = [("a:7", 100, 110), ("b:7", 101, 105), ("b:8", 112, 118), ("c:7", 115, 130), ("a:7", 108, 111)]
    rows = [
        {"run": "r", "shard": f"s{number}", "worker": worker, "started": float(begun), "committed": float(ended)}
        for number, (worker, begun, ended) in enumerate(at)
    ]
    other = {"run": "q", "shard": "s", "worker": "z:1", "started": 0.0, "committed": 900.0}
    found = node_spans(pa.Table.from_pylist([row | same for row in [*rows, other]]), "r")
    assert found == [
        NodeSpan("a", 0.0, 11.0, workers=1, shards=2, images=8),
        NodeSpan("b", 1.0, 18.0, workers=2, shards=2, images=8),
        NodeSpan("c", 15.0, 30.0, workers=1, shards=1, images=4),
    ]


def test_the_slowest_workers_come_first():
    rows, number = seconds_by_worker(runs(), most=2)
    assert number == 3
    assert [(name, values.tolist()) for name, values in rows] == [("w2", [3.0] * 4), ("w1", [2.0] * 4)]
    root = ElementTree.fromstring(str(spans([("<w>" * 20, np.array([1.0, 2.0])), ("v", np.array([0.0]))], "t")))
    assert len(root.findall("g")) == 2


def test_reasons_have_counts_and_three_examples():
    rows = [
        {"key": f"k{n}", "status": "rejected", "error": e, "stage": s, "message": "m" * 1000, "metric.a": None}
        for n, (e, s) in enumerate([("x", "read")] * 5 + [("x", "prepare")] + [(None, None)])
    ]
    rows.append({**rows[0], "key": "f", "status": "filtered", "error": "filtered", "stage": "keep", "metric.a": 0.25})
    schema = pa.schema([(n, pa.string()) for n in ("key", "status", "error", "stage", "message")])
    index = pa.Table.from_pylist(rows, schema=schema.append(pa.field("metric.a", pa.float64())))
    found = reasons(index, "rejected")
    assert [(each.reason, each.stage, each.count) for each in found] == [
        ("x", "read", 5),
        ("unknown", "unknown", 1),
        ("x", "prepare", 1),
    ]
    assert [example.key for example in found[0].examples] == ["k0", "k1", "k2"]
    assert all(len(example.message) == 300 for each in found for example in each.examples)
    (only,) = reasons(index, "filtered")
    assert only.examples[0].values == "a 0.2500"


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (quantity.count, 1234567, "1,234,567"),
        (quantity.measured, 12.3456, "12.35"),
        (quantity.measured, 0.000123456, "0.0001235"),
        (quantity.measured, 1.5e-7, "1.500e-07"),
        (quantity.measured, float("nan"), "–"),
        (quantity.measured, 0.0, "0"),
        (quantity.size, 999, "999 B"),
        (quantity.size, 1_234_567, "1.2 MB"),
        (quantity.duration, 0.0123, "12 ms"),
        (quantity.duration, 59.99, "1 min 00 s"),
        (quantity.duration, 3725, "1 h 02 min"),
        (quantity.duration, 200_000, "2 d 7 h"),
        (quantity.moment, 0, "1970-01-01 00:00:00 UTC"),
    ],
)
def test_quantities_read_well(function, value, text):
    assert function(value) == text


def test_a_share_is_only_all_or_nothing_when_it_is():
    assert [quantity.share(n, 10_000) for n in (0, 1, 5000, 9999, 10_000)] == [
        "0 %",
        "< 0.1 %",
        "50.0 %",
        "> 99.9 %",
        "100 %",
    ]
    assert quantity.share(0, 0) == "–"
