"""Training small Turbo networks from nothing: one forward pass for all losses, warm-up, auto-encoder phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods import InputError
from methods.train import registry
from methods.train.cyclegan_turbo import CycleGANTurboTraining
from methods.train.draws import Draws
from methods.train.learning_rate import share_at
from methods.train.pix2pix_turbo import Pix2PixTurboTraining
from methods.train.workers import alone
from tests.methods.test_train_cyclegan_turbo import CPU, golden_objective
from tests.methods.test_train_cyclegan_turbo import params as cyclegan_params
from tests.methods.test_train_pix2pix_turbo import params as pix2pix_params

JOINT: dict[str, Any] = {"joint": True, "lambda_patch": 0.1, "patch_width": 8, "patch_shrink": [1, 2]}


def pictures(seed: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(0), CPU)


def unpaired(base: str, steps: int = 10, **changes: Any) -> CycleGANTurboTraining:
    torch.manual_seed(0)
    chosen = cyclegan_params(base, **{**JOINT, **changes})
    return CycleGANTurboTraining.build(chosen, CPU, torch.float32, steps)


def step(objective: CycleGANTurboTraining, number: int) -> dict[str, float]:
    batch: Any = {"a": {"image": pictures(1)}, "b": {"image": pictures(2) * 0.3 - 0.5}}
    return dict(objective.step(batch, number, torch.Generator().manual_seed(number), alone))


def test_the_first_loss_is_that_of_the_published_order(golden: Path, base: str) -> None:
    # with the same weights and the same first draws nothing has happened yet that could tell them apart
    torch.manual_seed(0)
    published = golden_objective(golden, base)
    joint = golden_objective(golden, base, joint=True)
    joint.load_state_dict(published.state_dict())
    a, b = pictures(1, 1), pictures(2, 1)
    one, other = (
        published.iterate(a, b, draws(), alone),
        joint.step({"a": {"image": a}, "b": {"image": b}}, 0, torch.Generator().manual_seed(0), alone),
    )
    assert other["cycle_a"] == pytest.approx(one["cycle_a"], rel=1e-6)


def test_all_losses_move_all_networks(base: str) -> None:
    objective = unpaired(base)
    before = {
        (name, key): value.clone()
        for name, network in objective.networks().items()
        for key, value in network.named_parameters()
        if value.requires_grad
    }
    found = step(objective, 0)
    assert {"cycle_a", "gan_b", "idt_a", "patch_a", "patch_disc_b", "disc_a"} <= found.keys()
    moved = {
        name
        for name, network in objective.networks().items()
        for key, value in network.named_parameters()
        if value.requires_grad and not torch.equal(value, before[name, key])
    }
    assert moved == {"unet", "vae_a2b", "vae_b2a", "disc_a", "disc_b", "patch_disc_a", "patch_disc_b"}


def test_identity_comes_as_often_as_asked(base: str) -> None:
    objective = unpaired(base, identity_every=2)
    assert ["idt_a" in step(objective, number) for number in range(3)] == [True, False, True]


def test_the_first_share_learns_to_pass_pictures_through(base: str) -> None:
    objective = unpaired(base, autoencoder_share=0.5, networks="mini", adapt="full", lr=3e-3, checkpointing=False)
    found = [step(objective, number) for number in range(6)]
    assert [("autoencoder_a2b" in each, "cycle_a" in each) for each in found] == [(True, False)] * 5 + [(False, True)]
    assert found[4]["autoencoder_a2b"] < found[0]["autoencoder_a2b"]


def test_a_joint_run_resumes_to_the_bit(base: str) -> None:
    straight, broken = unpaired(base), unpaired(base)
    for number in range(3):
        step(straight, number)
    for number in range(2):
        step(broken, number)
    resumed = unpaired(base)
    resumed.load_state_dict(broken.state_dict())
    step(resumed, 2)
    for name, network in straight.networks().items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(resumed.networks()[name].state_dict()[key], value, atol=0, rtol=0)


def test_pairs_in_one_pass(base: str) -> None:
    torch.manual_seed(0)
    small = {"networks": "mini", "adapt": "full", "caption": "a", "checkpointing": False}
    chosen = pix2pix_params(base, **JOINT, **small, lambda_l1=1.0, lambda_lpips=0.0, lr=3e-3)
    objective = Pix2PixTurboTraining.build(chosen, CPU, torch.float32, 10)
    source = pictures(3) * 0.5 + 0.5
    target = source * 0.4 + 0.5
    found = [objective.iterate_jointly(source, target, ["a"] * 2, draws(), alone) for _ in range(4)]
    assert {"l1", "l2", "gan", "disc", "patch", "patch_disc"} <= found[0].keys()
    assert found[-1]["l1"] < found[0]["l1"]
    assert set(objective.networks()) == {"unet", "vae", "disc", "patch"}


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_patch": 1}, "belongs to joint: true"),
        ("pix2pix_turbo", {"lambda_patch": 1}, "belongs to joint: true"),
        ("pix2pix_turbo", {"joint": True, "stochastic": True}, "has no gamma"),
        ("pix2pix_turbo", {"lr_decay_from": 2}, "lr_decay_from"),
    ],
)
def test_what_does_not_go_together_is_said(objective: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.resolve(objective, changes)


@given(
    steps=st.integers(1, 1000),
    warmup=st.integers(0, 50),
    decay_from=st.floats(0, 1),
    data=st.data(),
)
def test_the_rate_stays_in_its_range(steps: int, warmup: int, decay_from: float, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, steps - 1))
    share = share_at(number, steps, warmup, decay_from)
    assert 0.01 <= share <= 1
    if number + 1 >= warmup and number <= decay_from * steps:
        assert share == pytest.approx(1)


def test_the_rate_rises_and_falls() -> None:
    shares = [share_at(number, 100, 10, 0.5) for number in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[:10] == sorted(shares[:10])
    assert shares[10:51] == [1.0] * 41
    assert shares[51:] == sorted(shares[51:], reverse=True)
    assert shares[-1] == pytest.approx(0.02)
