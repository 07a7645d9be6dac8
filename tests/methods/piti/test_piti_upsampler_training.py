"""Training PITI's upsampler: degradation, critic, perceptual distance, resume, export beside a base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import methods
from methods.base import Batch
from methods.errors import InputError
from methods.train import registry
from methods.train.loop import step_generator
from methods.train.losses.critic import PatchCritic, critic_loss, generator_loss
from methods.train.losses.vgg_distance import VGGDistance
from methods.train.piti.degradation import degrade, smooth_l0
from methods.train.piti.upsampler import PITIUpsampler
from methods.train.updates import Updates

from .conftest import TINY_UPSAMPLER
from .test_piti_training import base, pair


def vgg(folder: Path) -> str:
    """Random weights in the layout of torchvision's file, with a classifier that is not read."""
    torch.manual_seed(1)
    path = folder / "vgg19.pth"
    torch.save({**VGGDistance().state_dict(), "classifier.0.weight": torch.zeros(2)}, path)
    return str(path)


def upsampler(**params: Any) -> PITIUpsampler:
    torch.manual_seed(0)
    given: dict[str, Any] = {"model": TINY_UPSAMPLER.model_dump(), "small_side": 16, "perceptual_weight": 0.0, **params}
    objective = registry.build("piti_upsampler", given, torch.device("cpu"), torch.float32, 100)
    assert isinstance(objective, PITIUpsampler)
    return objective


def pairs(objective: PITIUpsampler, count: int) -> dict[str, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    samples = [objective.transform("pairs", pair(number), rng) for number in range(count)]
    return {"pairs": {field: torch.stack([s[field] for s in samples]) for field in samples[0]}}  # type: ignore[misc]


def street(side: int = 64) -> np.ndarray:
    rows = np.linspace(20, 235, side)
    return np.stack(
        [np.tile(rows, (side, 1)), np.tile(rows[:, None], (1, side)), np.full((side, side), 128)], -1
    ).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4]))
def test_degraded_pictures_stay_the_picture(seed: int, factor: int) -> None:
    picture = street()
    small = degrade(picture, factor, np.random.default_rng(seed))
    assert small.shape == (64 // factor, 64 // factor, 3)
    assert small.dtype == np.uint8
    exact = picture.reshape(64 // factor, factor, 64 // factor, factor, 3).mean((1, 3))
    # the release's smoothing would have made one in five of them black
    assert np.abs(small - exact).mean() < 20
    np.testing.assert_array_equal(small, degrade(picture, factor, np.random.default_rng(seed)))


def test_smoothing_flattens_noise_and_keeps_edges() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((32, 32, 3), 0.2)
    clean[:, 16:] = 0.8
    found = smooth_l0(np.clip(clean + rng.normal(0, 0.02, clean.shape), 0, 1), 4e-3)
    assert np.abs(found - clean).mean() < 0.005
    assert found[4:28, 2:14].std() < 0.005
    assert (found[:, 16] - found[:, 15]).min() > 0.5


def test_the_critic_and_its_penalty() -> None:
    critic = PatchCritic(8)
    pictures = torch.rand(2, 3, 64, 64)
    assert critic(pictures).shape == (2, 1, 6, 6)
    assert generator_loss(critic, pictures).item() == pytest.approx(-critic(pictures).mean().item())

    class Linear(torch.nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return 3 * pictures[:, :1, :1, :1]

    # the gradient's length is 3 everywhere: the penalty is 10 * (3 - 1)^2
    loss = critic_loss(Linear(), torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), torch.rand(2))
    assert loss.item() == pytest.approx(-3 + 40, rel=1e-5)


def test_a_step_with_every_loss(tmp_path: Path) -> None:
    objective = upsampler(perceptual_weight=0.004, vgg=vgg(tmp_path), extra_after=1)
    batch = pairs(objective, 1)
    plain = objective.step(batch, 0, step_generator(0, 0, 0), Updates())
    assert set(plain) == {"loss", "mse", "vb"}
    before = [parameter.clone() for parameter in objective.critic.parameters()]
    updates = Updates()
    losses = objective.step(batch, 1, step_generator(0, 1, 0), updates)
    assert set(losses) == {"loss", "mse", "vb", "perceptual", "adversarial", "critic"}
    assert list(updates.norms) == ["model", "critic"]
    assert all(np.isfinite(value) for value in losses.values())
    moved = [not torch.equal(a, b) for a, b in zip(before, objective.critic.parameters(), strict=True)]
    assert any(moved)


def test_a_resumed_run_goes_on_with_the_same_bits() -> None:
    through, first = (upsampler(extra_after=0) for _ in range(2))
    batch = pairs(through, 1)
    for step in range(2):
        through.step(batch, step, step_generator(0, step, 0), Updates())
    first.step(batch, 0, step_generator(0, 0, 0), Updates())
    second = upsampler(extra_after=0)
    second.load_state_dict(first.state_dict())
    second.step(batch, 1, step_generator(0, 1, 0), Updates())
    for part in ("model", "critic"):
        torch.testing.assert_close(second.state_dict()[part], through.state_dict()[part], rtol=0, atol=0)


def test_both_models_end_in_one_file(tmp_path: Path) -> None:
    small = base().export(tmp_path / "base.safetensors", None, {})
    objective = upsampler(base=str(small))
    path = objective.export(tmp_path / "both.safetensors", None, {"steps": "0"})
    method = methods.load("piti", weights=str(path), steps="2", upsampler_steps="2")
    assert method.translate(Batch(torch.zeros(1, 3, 256, 256), [0])).shape == (1, 3, 64, 64)
    alone = upsampler().export(tmp_path / "alone.safetensors", None, {})
    with pytest.raises(InputError, match=r"alone\.safetensors: holds no base model"):
        methods.load("piti", weights=str(alone))
    method = methods.load("piti", weights=str(small), upsampler=str(alone), steps="2", upsampler_steps="2")
    assert method.translate(Batch(torch.zeros(1, 3, 256, 256), [0])).shape == (1, 3, 64, 64)


def test_validation_measures_and_shows() -> None:
    objective = upsampler(preview_steps="2")
    found = objective.validate({"pairs": [objective.transform("pairs", pair(0), np.random.default_rng(0))]})
    assert np.isfinite(found.metrics["psnr"])
    assert found.pictures["sample_0"].shape == (256, 1024, 3)


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="small_side 20 must be a half or a quarter of the side 64"):
        upsampler(small_side=20)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"vgg\.pth: 'features\.0\.bias' .* missing"):
        upsampler(perceptual_weight=1.0, vgg=str(tmp_path / "vgg.pth"))
