"""Training PITI: the official losses and gradients, both stages, resume, what is exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import methods
from methods.base import Batch, Inputs
from methods.errors import BadSample, InputError
from methods.piti.networks import PITIModel
from methods.train import registry
from methods.train.loop import step_generator
from methods.train.losses.diffusion import LossSecondMomentSampler
from methods.train.piti.base import PITIBase
from methods.train.updates import Updates

from .conftest import GOLDEN, TINY_BASE, Case, relative

WEIGHTS = GOLDEN / "weights" / "base_mask_tiny.pt"


def base(**params: Any) -> PITIBase:
    torch.manual_seed(0)
    objective = registry.build(
        "piti_base", {"model": TINY_BASE.model_dump(), **params}, torch.device("cpu"), torch.float32, 100
    )
    assert isinstance(objective, PITIBase)
    return objective


def pairs(objective: Any, count: int) -> dict[str, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    samples = [objective.transform("pairs", pair(number), rng) for number in range(count)]
    return {"pairs": {field: torch.stack([sample[field] for sample in samples]) for field in samples[0]}}


def pair(number: int) -> Inputs:
    rng = np.random.default_rng(number)
    ids = np.repeat(np.repeat(rng.integers(0, 182, (4, 5)).astype(np.uint8), 20, 0), 20, 1)
    return Inputs(f"s{number}", np.stack([ids, 255 - ids, ids // 2], -1), columns={"seg.png": ids})


def test_losses_and_gradients_are_the_official_ones(case: Callable[[str], Case]) -> None:
    golden = case("train_loss_base")
    objective = base()
    objective.model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    # the golden losses were recorded without dropout
    objective.model.eval()
    steps = torch.tensor(golden.about["parameters"]["t"])
    terms = objective.terms(golden.inputs["x_start"], golden.conditions(), golden.inputs["noise"], steps)
    torch.testing.assert_close(terms.mse, golden.expected["mse"], rtol=1e-4, atol=0)
    torch.testing.assert_close(terms.vb, golden.expected["vb"], rtol=1e-4, atol=0)
    torch.testing.assert_close(terms.loss, golden.expected["loss"], rtol=1e-4, atol=0)
    terms.loss.mean().backward()
    gradients = {name: parameter.grad for name, parameter in objective.model.named_parameters()}
    compared = [key for key in golden.expected if key.startswith("grad.")]
    assert len(compared) == 8
    for key in compared:
        found = gradients[key.removeprefix("grad.")]
        assert found is not None
        assert relative(found, golden.expected[key]) < 1e-4, key
    for part in ("encoder", "decoder"):
        norms = torch.stack([g.norm() for n, g in gradients.items() if n.startswith(part) and g is not None])
        assert norms.norm().item() == pytest.approx(golden.expected[f"grad_norm_{part}"].item(), rel=1e-4)


def test_the_first_stage_trains_the_encoder_alone() -> None:
    objective = base(stage="encoder")
    # the fresh UNet answers zero whatever the condition is: give it something to say
    objective.model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    assert list(objective.networks()) == ["encoder"]
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    losses = objective.step(pairs(objective, 3), 0, step_generator(0, 0, 0), Updates())
    assert set(losses) == {"loss", "mse", "vb"}
    changed = {name for name, value in objective.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("encoder.") for name in changed)
    assert all(parameter.grad is None for parameter in objective.model.decoder.parameters())


def test_a_resumed_run_goes_on_with_the_same_bits() -> None:
    through, first = base(), base()
    batch = pairs(through, 2)
    for step in range(3):
        through.step(batch, step, step_generator(0, step, 0), Updates())
    for step in range(2):
        first.step(batch, step, step_generator(0, step, 0), Updates())
    second = base()
    second.load_state_dict(first.state_dict())
    second.step(batch, 2, step_generator(0, 2, 0), Updates())
    for name, value in second.model.state_dict().items():
        torch.testing.assert_close(value, through.model.state_dict()[name], rtol=0, atol=0)
    assert isinstance(second.sampler, LossSecondMomentSampler)
    assert isinstance(through.sampler, LossSecondMomentSampler)
    torch.testing.assert_close(second.sampler.losses, through.sampler.losses, rtol=0, atol=0)


def test_training_learns() -> None:
    objective = base(lr=2e-3, unconditional_share=0.0, timesteps="uniform", flip=False)
    batch = pairs(objective, 4)
    losses = [objective.step(batch, n, step_generator(0, n, 0), Updates())["mse"] for n in range(12)]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


def test_dropped_conditions_are_ones() -> None:
    objective = base(unconditional_share=0.5)
    condition = torch.zeros(200, 3, 2, 2)
    found = objective.dropped(condition, torch.Generator().manual_seed(0))
    values = found.flatten(1)
    assert ((values == 0).all(1) | (values == 1).all(1)).all()
    assert 60 < (values == 1).all(1).sum() < 140


def test_the_timesteps_of_large_losses_are_drawn_more_often() -> None:
    sampler = LossSecondMomentSampler(4)
    generator = torch.Generator().manual_seed(0)
    steps, weights = sampler.draw(8, generator)
    assert weights.tolist() == [1.0] * 8
    for _ in range(9):
        sampler.update(torch.arange(4), torch.tensor([5.0, 5.0, 5.0, 5.0]))
    torch.testing.assert_close(sampler.shares(), torch.full((4,), 0.25, dtype=torch.float64))
    for _ in range(11):
        sampler.update(torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    expected = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64) / 10 * 0.999 + 0.001 / 4
    torch.testing.assert_close(sampler.shares(), expected)
    steps, weights = sampler.draw(5000, generator)
    torch.testing.assert_close(weights.double(), 1 / (4 * expected[steps]), rtol=1e-6, atol=0)
    assert weights.mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_exported_can_be_used_and_trained_further(tmp_path: Path, suffix: str) -> None:
    objective = base()
    averaged = {"model": {name: value + 0.01 for name, value in objective.model.named_parameters()}}
    path = objective.export(tmp_path / f"base{suffix}", averaged, {"steps": "3"})
    if suffix == ".safetensors":
        method = methods.load("piti", weights=str(path), steps="2")
        assert method.translate(Batch(torch.zeros(1, 3, 256, 256), [0])).shape == (1, 3, 16, 16)
        again = base(weights=str(path), stage="encoder")
        assert isinstance(again.model, PITIModel)
        torch.testing.assert_close(again.model.state_dict(), merged_of(averaged, objective))
    else:
        assert set(torch.load(path, weights_only=True)) == set(objective.model.state_dict())


def merged_of(averaged: dict[str, dict[str, Tensor]], objective: PITIBase) -> dict[str, Tensor]:
    return {**objective.model.state_dict(), **averaged["model"]}


def test_validation_draws_pictures() -> None:
    objective = base(preview_steps="ddim2")
    sample = objective.transform("pairs", pair(0), np.random.default_rng(0))
    found = objective.validate({"pairs": [sample]})
    assert set(found.metrics) == {"mse", "vb"}
    assert found.pictures["sample_0"].shape == (256, 768, 3)
    assert found.metrics == objective.validate({"pairs": [sample]}).metrics
    assert objective.model.training


def test_a_picture_and_its_condition_are_mirrored_together() -> None:
    objective = base()
    seen = set()
    plain = objective.transform("pairs", pair(0), np.random.default_rng(1))
    for seed in range(8):
        sample = objective.transform("pairs", pair(0), np.random.default_rng(seed))
        same = {field: torch.equal(sample[field], plain[field]) for field in sample}  # type: ignore[arg-type]
        assert len(set(same.values())) == 1
        seen.add(same["image"])
    assert seen == {True, False}


def test_what_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"found no picture 'seg\.png'"):
        base().transform("pairs", Inputs("a", np.zeros((4, 4, 3), np.uint8)), np.random.default_rng(0))
    with pytest.raises(InputError, match="trains a model of stage base, got upsampler"):
        base(model={**TINY_BASE.model_dump(), "stage": "upsampler"})
    torch.save({"conv_in.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: found tensors such as 'conv_in\.weight', expected GLIDE's"):
        base(glide=str(tmp_path / "other.pt"))


def test_glide_weights_fill_the_unet(tmp_path: Path) -> None:
    fresh = base()
    glide = {name: torch.randn_like(value) for name, value in fresh.model.decoder.state_dict().items()}
    text = {"transformer.resblocks.0.ln_1.weight": torch.zeros(2), "positional_embedding": torch.zeros(2)}
    torch.save({**glide, **text}, tmp_path / "base.pt")
    found = base(glide=str(tmp_path / "base.pt")).model.decoder.state_dict()
    for name, value in glide.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
