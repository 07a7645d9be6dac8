"""Training small Turbo networks from scratch: one forward pass for all losses, warm-up, auto-encoder phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from methods import BadSample, InputError, Inputs
from methods.train import registry
from methods.train.cyclegan_turbo.objective import CycleGANTurboTraining
from methods.train.draws import Draws
from methods.train.pix2pix_turbo.objective import Pix2PixTurboTraining
from methods.train.recipe import share_at
from methods.train.updates import Updates
from tests.methods.turbo.test_train_cyclegan_turbo import CPU, golden_objective
from tests.methods.turbo.test_train_cyclegan_turbo import params as cyclegan_params
from tests.methods.turbo.test_train_pix2pix_turbo import params as pix2pix_params

JOINT: dict[str, Any] = {"joint": True, "lambda_patch": 0.1, "patch_width": 8}
SILENT = dict.fromkeys(("lambda_gan", "lambda_patch", "lambda_cycle", "lambda_cycle_lpips"), 0.0)
SILENT |= dict.fromkeys(("lambda_idt", "lambda_idt_lpips"), 0.0)


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
    return dict(objective.step(batch, number, torch.Generator().manual_seed(number), Updates()))


def test_the_first_loss_is_that_of_the_published_order(golden: Path, base: str) -> None:
    # with the same weights and the same first draws nothing has happened yet that could make them differ
    torch.manual_seed(0)
    published = golden_objective(golden, base)
    joint = golden_objective(golden, base, joint=True)
    joint.load_state_dict(published.state_dict())
    a, b = pictures(1, 1), pictures(2, 1)
    one, other = (
        published.iterate(a, b, draws(), Updates()),
        joint.step({"a": {"image": a}, "b": {"image": b}}, 0, torch.Generator().manual_seed(0), Updates()),
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


class Spy(nn.Module):
    """A PatchGAN that keeps what it was shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, list[tuple[torch.Tensor, torch.Tensor | None]]()

    def forward(self, output: torch.Tensor, condition: torch.Tensor | None) -> Any:
        self.seen.append((output.detach().clone(), condition))
        return self.network(output, condition)


def spied(objective: CycleGANTurboTraining, batch: Any) -> dict[str, list[tuple[torch.Tensor, torch.Tensor | None]]]:
    spies = {name: Spy(network) for name, network in objective.patch_discriminators.items()}
    objective.patch_discriminators.update(spies)  # type: ignore[arg-type]
    objective.step(batch, 0, torch.Generator().manual_seed(0), Updates())
    return {name: spy.seen for name, spy in spies.items()}


def paired_batch() -> Any:
    day, night = pictures(1), pictures(2)
    return {
        "a": {"image": day, "target": day * 0.3 - 0.5},
        "b": {"image": night * 0.3 - 0.5, "target": night},
    }


def test_without_pairs_a_patchgan_compares_translations_with_the_other_set(base: str) -> None:
    batch: Any = {"a": {"image": pictures(1)}, "b": {"image": pictures(2) * 0.3 - 0.5}}
    for name, other in zip(("disc_a", "disc_b"), ("b", "a"), strict=True):
        for_generator, real, fake = spied(unpaired(base), batch)[name]
        assert torch.equal(real[0], batch[other]["image"])
        assert torch.equal(fake[0], for_generator[0])
        assert for_generator[1] is real[1] is fake[1] is None


def test_with_pairs_a_patchgan_compares_translations_with_the_truth_beside_their_source(base: str) -> None:
    batch = paired_batch()
    for name, stream in (("disc_a", "a"), ("disc_b", "b")):
        for_generator, real, fake = spied(unpaired(base, lambda_rec=1.0), batch)[name]
        assert torch.equal(real[0], batch[stream]["target"])
        assert torch.equal(fake[0], for_generator[0])
        assert all(condition is batch[stream]["image"] for _, condition in (for_generator, real, fake))


def test_pairs_teach_both_directions(base: str) -> None:
    small = {"networks": "mini", "adapt": "full", "lr": 3e-3, "checkpointing": False}
    objective = unpaired(base, steps=25, **SILENT, **small, lambda_rec=1.0, lambda_rec_lpips=0.1)
    assert set(objective.networks()) == {"unet", "vae_a2b", "vae_b2a"}
    batch = paired_batch()
    held = [{name: value[0] for name, value in batch[stream].items()} for stream in ("a", "b")]
    before = objective.validate({"a": held[:1], "b": held[1:]})
    found = [
        dict(objective.step(batch, number, torch.Generator().manual_seed(number), Updates())) for number in range(25)
    ]
    assert found[-1]["rec_a"] < 0.7 * found[0]["rec_a"]
    assert found[-1]["rec_b"] < 0.8 * found[0]["rec_b"]
    after = objective.validate({"a": held[:1], "b": held[1:]})
    assert set(after.pictures) == {"a, a2b, truth", "b, b2a, truth"}
    for stream in ("a", "b"):
        assert after.metrics[f"{stream}.psnr"] > before.metrics[f"{stream}.psnr"] + 1
        assert after.metrics[f"{stream}.rec_l1"] < before.metrics[f"{stream}.rec_l1"]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_mixed_precision_changes_little(base: str, checkpointing: bool) -> None:
    small: dict[str, Any] = {"networks": "mini", "adapt": "full", "checkpointing": checkpointing}
    changes = JOINT | SILENT | small | {"lambda_patch": 0.1, "lambda_rec": 1.0, "lambda_rec_lpips": 0.1}
    chosen = cyclegan_params(base, **changes)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        objective = CycleGANTurboTraining.build(chosen, CPU, precision, 10)
        found.append(objective.step(paired_batch(), 0, torch.Generator().manual_seed(0), Updates()))
        assert all(p.dtype == torch.float32 for p in objective.trained)
    for name in ("rec_a", "rec_b"):
        assert found[1][name] == pytest.approx(found[0][name], rel=0.02)


def test_discriminators_without_a_weight_are_not_made(base: str) -> None:
    assert set(unpaired(base, lambda_gan=0.0, lambda_patch=0.0).networks()) == {"unet", "vae_a2b", "vae_b2a"}


def test_a_checkpoint_of_other_networks_is_refused_in_one_line(base: str) -> None:
    objective = unpaired(base)
    lacking = objective.state_dict()
    del lacking["networks"]["unet"]
    with pytest.raises(InputError, match="'unet"):
        objective.load_state_dict(lacking)
    with pytest.raises(InputError, match="an earlier version wrote it"):
        objective.load_state_dict({"networks": {}, "optimizer": {}, "discriminator_optimizer": {}})


@pytest.mark.parametrize(
    ("image_prep", "side"), [("resize_32_randomcrop_16x16_hflip", 16), ("no_resize_hflip", 32), ("no_resize", 32)]
)
def test_a_pair_is_cut_alike(base: str, image_prep: str, side: int) -> None:
    objective = unpaired(base, lambda_rec=1.0, image_prep=image_prep)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    seen = set()
    for number in range(8):
        columns = {"target": 255 - picture}
        sample = objective.transform("a", Inputs("k", picture, None, columns), np.random.default_rng(number))
        image, target = torch.as_tensor(sample["image"]), torch.as_tensor(sample["target"])
        assert image.shape == (3, side, side)
        torch.testing.assert_close(target, -image)
        seen.add(image.numpy().tobytes())
    if side == 32:
        assert len(seen) == 1 + image_prep.endswith("_hflip")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "needs a target beside each picture"),
        ({"target": np.zeros((16, 32, 3), np.uint8)}, r"picture \(32, 32\) and target \(16, 32\) differ"),
    ],
)
def test_a_sample_that_is_no_pair_is_bad(base: str, columns: dict[str, Any], message: str) -> None:
    objective = unpaired(base, lambda_rec=1.0)
    with pytest.raises(BadSample, match=message):
        objective.transform("a", Inputs("k", np.zeros((32, 32, 3), np.uint8), None, columns), np.random.default_rng(0))


def test_the_first_share_learns_to_pass_pictures_through(base: str) -> None:
    objective = unpaired(base, autoencoder_share=0.5, networks="mini", adapt="full", lr=3e-3, checkpointing=False)
    found = [step(objective, number) for number in range(6)]
    assert [("autoencoder_a2b" in each, "cycle_a" in each) for each in found] == [(True, False)] * 5 + [(False, True)]
    assert found[4]["autoencoder_a2b"] < found[0]["autoencoder_a2b"]


def test_a_joint_run_resumes_to_the_bit(base: str) -> None:
    straight, broken = unpaired(base), unpaired(base)
    for number in range(2):
        step(straight, number)
    step(broken, 0)
    resumed = unpaired(base)
    resumed.load_state_dict(broken.state_dict())
    step(resumed, 1)
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
    found = [objective.iterate_jointly(source, target, ["a"] * 2, draws(), Updates()) for _ in range(4)]
    assert {"l1", "l2", "gan", "disc", "patch", "patch_disc"} <= found[0].keys()
    assert found[-1]["l1"] < found[0]["l1"]
    assert set(objective.networks()) == {"unet", "vae", "disc", "patch"}


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_patch": 1}, "belongs to joint: true"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_rec": 1}, "belong to joint: true"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "joint": True, **SILENT}, "nothing moves"),
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
