"""A denoiser trained here learns, resumes to the bit, and is one that both editing methods load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods import BadSample, InputError, Inputs
from methods.nn.unconditional import load_denoiser
from methods.train import registry
from methods.train.checkpoint import Checkpoint, restore
from methods.train.ddpm.objective import DDPM
from methods.train.loop import step_generator
from methods.train.updates import Updates
from tests.support.datasets import picture

SMALL = {
    "image_size": 16,
    "model_channels": 32,
    "channel_mult": [1, 1],
    "attention_downsample": [2],
    "num_head_channels": 16,
    "lr": 2e-3,
    "preview_steps": 4,
}


def build(**changes: Any) -> DDPM:
    torch.manual_seed(0)
    objective = registry.build("ddpm", {**SMALL, **changes}, torch.device("cpu"), torch.float32, 10)
    assert isinstance(objective, DDPM)
    return objective


def batch(objective: DDPM) -> Any:
    rng = np.random.default_rng(0)
    samples = [objective.transform("images", Inputs(f"k{n}", picture(n, (16, 16))), rng)["image"] for n in range(4)]
    return {"images": {"image": torch.stack([sample for sample in samples if isinstance(sample, torch.Tensor)])}}


def test_it_learns_resumes_and_exports(tmp_path: Path) -> None:
    straight, stopped = build(), build()
    data = batch(straight)
    # the last layer starts at zero: the first loss is that of predicting nothing
    losses = [straight.step(data, step, step_generator(0, step, 0), Updates())["mse"] for step in range(60)]
    assert losses[0] == pytest.approx(1.0, abs=0.05)
    assert np.mean(losses[-10:]) < 0.6
    for step in range(3):
        stopped.step(data, step, step_generator(0, step, 0), Updates())
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed, again = build(), build()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(6):
        again.step(data, step, step_generator(0, step, 0), Updates())
    for step in range(3, 6):
        resumed.step(data, step, step_generator(0, step, 0), Updates())
    assert all(torch.equal(value, resumed.unet.state_dict()[name]) for name, value in again.unet.state_dict().items())
    found = straight.validate({"images": [{"image": data["images"]["image"][0]}]})
    assert found.metrics["mse"] < 1
    assert found.pictures["samples"].shape == (16, 64, 3)
    path = straight.export(tmp_path / "model.safetensors", None, {"objective": "ddpm"})
    loaded = load_denoiser(path, num_head_channels=16)
    x, times = torch.randn(2, 3, 16, 16), torch.tensor([10.0, 900.0])
    with torch.no_grad():
        assert torch.equal(loaded(x, times), straight.unet.eval()(x, times))


@pytest.mark.parametrize(
    ("changes", "said"), [({"image_size": 17}, "expected a multiple of 2"), ({"num_head_channels": 24}, "a divisor of")]
)
def test_wrong_parameters(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build(**changes)


def test_a_sample_without_a_picture() -> None:
    with pytest.raises(BadSample):
        build().transform("images", Inputs("k", None), np.random.default_rng(0))


def test_a_run_that_goes_on_from_another_has_its_own_learning_rate() -> None:
    first, second = build(), build(lr=1e-5)
    data = batch(first)
    first.step(data, 0, step_generator(0, 0, 0), Updates())
    restore(second, Checkpoint(1, "ddpm", first.state_dict(), {}), "here")
    assert [group["lr"] for group in second.optimizer.param_groups] == [1e-5]


def test_groups_of_the_norms_are_the_objective_s() -> None:
    objective = build(norm_num_groups=8)
    norms = [module for module in objective.unet.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert norms
    assert {norm.num_groups for norm in norms} == {8}
    with pytest.raises(InputError, match="norm_num_groups is 24, expected a divisor of model_channels, 32"):
        build(norm_num_groups=24)
