"""Training small Turbo networks from nothing: one forward pass for all losses, warm-up, auto-encoder phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from methods import BadSample, InputError, Inputs
from methods.train import registry
from methods.train.crops import cut
from methods.train.cyclegan_turbo.joint import expected_tones
from methods.train.cyclegan_turbo.kept_detail import detail
from methods.train.cyclegan_turbo.label_maps import Annotations, grey_map, label_map, one_hot
from methods.train.cyclegan_turbo.objective import CycleGANTurboTraining
from methods.train.cyclegan_turbo.tone import carried
from methods.train.draws import Draws
from methods.train.learning_rate import share_at
from methods.train.pix2pix_turbo.objective import Pix2PixTurboTraining
from methods.train.workers import alone
from tests.methods.turbo.test_train_cyclegan_turbo import CPU, golden_objective
from tests.methods.turbo.test_train_cyclegan_turbo import params as cyclegan_params
from tests.methods.turbo.test_train_pix2pix_turbo import params as pix2pix_params

JOINT: dict[str, Any] = {"joint": True, "lambda_patch": 0.1, "patch_width": 8, "patch_shrink": [1, 2]}

NO_MAPS = torch.empty(2, 0, 32, 32, dtype=torch.uint8)


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


def test_a_cycle_comes_as_often_as_asked(base: str) -> None:
    objective = unpaired(base, cycle_every=2)
    assert ["cycle_b" in step(objective, number) for number in range(3)] == [True, False, True]


class Spy(nn.Module):
    """A patch judge that keeps what it was shown."""

    def __init__(self, judge: nn.Module) -> None:
        super().__init__()
        self.judge, self.seen = judge, list[tuple[torch.Tensor, torch.Tensor]]()

    def forward(self, output: torch.Tensor, condition: torch.Tensor) -> Any:
        self.seen.append((output.detach().clone(), condition))
        return self.judge(output, condition)


def test_a_patch_judge_sees_every_picture_with_its_own_labels(base: str) -> None:
    objective = unpaired(base, labels="seg.png", label_classes=4)
    spies = {name: Spy(judge) for name, judge in objective.patch_judges.items()}
    objective.patch_judges.update(spies)  # type: ignore[arg-type]
    images = {"a": pictures(1), "b": pictures(2) * 0.3 - 0.5}
    labels = {stream: torch.randint(0, 5, (2, 32, 32)).byte() for stream in images}
    batch: Any = {stream: {"image": images[stream], "labels": labels[stream], "maps": NO_MAPS} for stream in images}
    objective.step(batch, 0, torch.Generator().manual_seed(0), alone)
    for name, made_of, other in (("disc_a", "a", "b"), ("disc_b", "b", "a")):
        fooling, real, fake = spies[name].seen
        assert torch.equal(real[0], images[other])
        assert torch.equal(fake[0], fooling[0])
        for (_, condition), stream in ((fooling, made_of), (real, other), (fake, made_of)):
            # class 4 is none of the four: a pixel of it has no plane
            planes = torch.cat([1 - condition.sum(1, keepdim=True), condition], dim=1)
            assert torch.equal(planes.argmax(1), (labels[stream].long() + 1) % 5)


def test_translations_are_drawn_to_the_tones_that_their_labels_have_in_the_other_domain(base: str) -> None:
    # in domain B every class has a tone of its own, and nothing but the tones speaks
    silent = dict.fromkeys(("lambda_gan", "lambda_cycle", "lambda_idt", "lambda_idt_lpips"), 0.0)
    small = {"networks": "mini", "adapt": "full", "lr": 1e-3, "lr_discriminator": 1e-2, "checkpointing": False}
    labelled = {"labels": "seg.png", "label_classes": 2, "tone_shrink": 4, "lambda_tone": 10.0}
    chosen = {**silent, **small, **labelled, "lambda_patch": 1e-6, "cycle_every": 99, "identity_every": 99}
    objective = unpaired(base, steps=30, autoencoder_share=0.5, **chosen)
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[:, :, 16:] = 1
    night = torch.where(labels[:, None].bool(), 0.6, -0.6).expand(2, 3, 32, 32)
    batch: Any = {
        "a": {"image": pictures(1) * 0.2, "labels": labels, "maps": NO_MAPS},
        "b": {"image": night, "labels": labels, "maps": NO_MAPS},
    }
    found = [dict(objective.step(batch, step, torch.Generator().manual_seed(step), alone)) for step in range(30)]
    assert found[14]["tone_disc_a"] < 0.4 * found[0]["tone_disc_a"]
    assert found[29]["tone_a"] < 0.5 * found[15]["tone_a"]
    assert {"tone_disc_a", "tone_disc_b"} <= set(objective.networks())


def test_classes_that_matter_count_more(base: str) -> None:
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[:, :8] = 1
    known = {"labels": labels, "maps": NO_MAPS}
    batch: Any = {"a": {"image": pictures(1), **known}, "b": {"image": pictures(2) * 0.3 - 0.5, **known}}
    found = {}
    for weights in ({}, {1: 3.0}, {0: 3.0}, {0: 3.0, 1: 3.0}):
        objective = unpaired(base, **KEEPING, **SILENT, tone_weights=weights)
        found[str(weights)] = objective.step(batch, 0, torch.Generator().manual_seed(0), alone)["tone_a"]
    plain, one, other, both = found.values()
    assert plain < min(one, other)
    assert both == pytest.approx(3 * plain, rel=1e-4)
    # a class counts by its pixels alone
    assert one - plain + other - plain == pytest.approx(2 * plain, rel=1e-4)


def test_a_red_thing_among_grey_ones_is_drawn_red(base: str) -> None:
    # both domains are grey on average; class 1 keeps its surface, class 0 does not
    objective = unpaired(base, **KEEPING, **SILENT, carry_a2b=[1], carry_share=1.0)
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[..., 16:] = 1
    red = torch.tensor([0.8, -0.4, -0.4]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    told = Annotations(one_hot(labels, 2), torch.empty(1, 0, 32, 32))
    with torch.no_grad():
        plain, usual = (objective.tones[judge](told.planes).clamp(-1, 1) for judge in ("disc_a", "disc_b"))
    found = expected_tones(objective, red, told, "a2b", "disc_a")
    torch.testing.assert_close(found[..., :4], plain[..., :4])
    share = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(found[..., 4:], carried(plain, F.avg_pool2d(red, 4), usual, share)[..., 4:])
    assert (found[:, 0, :, 4:] > found[:, 1, :, 4:]).all()
    torch.testing.assert_close(expected_tones(objective, red, told, "b2a", "disc_b").clamp(-1, 1), usual)


def test_judges_without_a_weight_are_not_made(base: str) -> None:
    labelled = {"labels": "seg.png", "label_classes": 2, "lambda_tone": 1.0, "lambda_gan": 0.0, "lambda_patch": 0.0}
    assert set(unpaired(base, **labelled).networks()) == {"unet", "vae_a2b", "vae_b2a", "tone_disc_a", "tone_disc_b"}


def test_detail_is_what_averaging_loses() -> None:
    assert detail(torch.full((1, 3, 16, 16), 0.3), 4).abs().max() < 1e-6
    checks = torch.ones(1, 3, 16, 16)
    checks[..., ::2] = -1
    torch.testing.assert_close(detail(checks, 2), checks)


KEEPING: dict[str, Any] = {
    "networks": "mini",
    "adapt": "full",
    "checkpointing": False,
    "lr": 2e-3,
    "labels": "seg.png",
    "label_classes": 2,
    "lambda_tone": 1.0,
    "tone_shrink": 4,
}
SILENT = dict.fromkeys(("lambda_gan", "lambda_patch", "lambda_cycle", "lambda_cycle_lpips"), 0.0)
SILENT |= dict.fromkeys(("lambda_idt", "lambda_idt_lpips"), 0.0)


def tone_step(objective: CycleGANTurboTraining, number: int) -> dict[str, float]:
    known = {"labels": torch.zeros(2, 32, 32, dtype=torch.uint8), "maps": NO_MAPS}
    batch: Any = {"a": {"image": pictures(1), **known}, "b": {"image": pictures(2) * 0.3 - 0.5, **known}}
    return dict(objective.step(batch, number, torch.Generator().manual_seed(number), alone))


def test_a_last_stage_keeps_the_detail_of_the_one_before(base: str) -> None:
    first = unpaired(base, **KEEPING)
    tone_step(first, 0)
    found = {}
    for weight in (0.0, 100.0):
        # the judges of the first stage are gone, and nobody misses them
        last = unpaired(base, **{**KEEPING, "lr": 3e-4}, **SILENT, lambda_keep=weight)
        last.load_state_dict(first.state_dict())
        noise = torch.zeros(2, *last.generators["a2b"].latent_shape(32, 32))
        before = detail(last.generate(pictures(1), "a2b", noise), 4).detach()
        for number in range(1, 9):
            assert ("keep_a" in tone_step(last, number)) == bool(weight)
        after = detail(last.generate(pictures(1), "a2b", noise), 4).detach()
        found[weight] = float((after - before).square().mean())
    assert found[100.0] < 0.5 * found[0.0]


def test_detail_is_kept_as_the_stage_began_over_resumed_runs(base: str) -> None:
    first = unpaired(base, **KEEPING)
    tone_step(first, 0)
    runs = [unpaired(base, **KEEPING, **SILENT, lambda_keep=1.0, keep_contrast=0.5) for _ in range(2)]
    runs[0].load_state_dict(first.state_dict())
    for number in (1, 2):
        tone_step(runs[0], number)
    runs[1].load_state_dict(runs[0].state_dict())
    assert tone_step(runs[1], 3) == tone_step(runs[0], 3)
    with pytest.raises(InputError, match="name it in continue_from"):
        tone_step(unpaired(base, **KEEPING, **SILENT, lambda_keep=1.0), 0)


def test_judges_may_join_in_a_later_stage(base: str) -> None:
    first = unpaired(base, **KEEPING, **SILENT)
    tone_step(first, 0)
    later = unpaired(base, **KEEPING)
    later.load_state_dict(first.state_dict())
    own, other = (objective.networks()["tone_disc_a"].state_dict() for objective in (first, later))
    assert all(torch.equal(value, other[key]) for key, value in own.items())
    assert {"gan_a", "patch_disc_b"} <= tone_step(later, 1).keys()
    lacking = first.state_dict()
    del lacking["networks"]["unet"]
    with pytest.raises(InputError, match="'unet"):
        later.load_state_dict(lacking)
    with pytest.raises(InputError, match="an earlier version wrote it"):
        later.load_state_dict({"networks": {}, "optimizer": {}, "judge_optimizer": {}})


def test_scales_take_turns(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = unpaired(base, **KEEPING, **SILENT, scales=[1, 2])
    seen = list[tuple[int, ...]]()
    own = objective.generate

    def generate(images: torch.Tensor, direction: str, noise: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[-2:]))
        return own(images, direction, noise)

    monkeypatch.setattr(objective, "generate", generate)
    found = [tone_step(objective, number) for number in range(3)]
    assert seen == [(32, 32)] * 2 + [(16, 16)] * 2 + [(32, 32)] * 2
    assert all(np.isfinite(value) for each in found for value in each.values())
    # the tones of half a picture are those of the whole one
    net, planes = objective.tones["disc_a"], torch.zeros(1, 2, 32, 32)
    torch.testing.assert_close(net(planes[..., ::2, ::2], 2), net(planes))


@given(number=st.integers(0, 2**31), side=st.sampled_from([32, 40]))
def test_labels_are_cut_as_their_picture_is(number: int, side: int) -> None:
    rng = np.random.default_rng(number)
    labels = rng.integers(0, 20, (side, side), dtype=np.uint8)
    painted = np.repeat(labels[:, :, None], 3, axis=2)
    picture, cut_labels = cut([painted, labels], f"resize_{side}_randomcrop_24x16_hflip", rng)
    assert picture.shape == (16, 24, 3)
    assert np.array_equal(picture[:, :, 0], cut_labels)


def test_far_things_are_near_each_other_in_eight_bits() -> None:
    def grey(found: np.ndarray) -> np.ndarray:
        return grey_map(Inputs("k", None, None, {"depth.png": found}), "depth.png")

    metres = np.array([[0, 2, 20, 200, 655.35]])
    assert grey(np.round(metres * 100).astype(np.uint16)).tolist() == [[0, 122, 175, 228, 255]]
    assert grey(np.array([[0, 7, 255]], np.uint8)).tolist() == [[0, 7, 255]]


def test_a_sample_becomes_picture_labels_and_maps(base: str) -> None:
    objective = unpaired(
        base, **KEEPING, tone_maps=["depth.png", "edges.png"], image_prep="resize_32_randomcrop_16x16_hflip"
    )
    place = np.arange(32 * 32).reshape(32, 32)
    columns = {
        "seg.png": (place % 32).astype(np.uint8),
        "depth.png": (place % 32 + 100).astype(np.uint8),
        "edges.png": (place // 32).astype(np.uint8),
    }
    picture = np.repeat((place % 32)[:, :, None], 3, 2).astype(np.uint8)
    sample = objective.transform("a", Inputs("k", picture, None, columns), np.random.default_rng(0))
    shapes = {name: tuple(value.shape) for name, value in sample.items() if isinstance(value, torch.Tensor)}
    assert shapes == {"image": (3, 16, 16), "labels": (16, 16), "maps": (2, 16, 16)}
    labels, (depth, edges) = torch.as_tensor(sample["labels"]).int(), torch.as_tensor(sample["maps"]).int()
    assert torch.equal(depth, labels + 100)
    assert torch.equal((torch.as_tensor(sample["image"])[0] * 127.5 + 127.5).round().int(), labels)
    assert torch.equal(edges, edges[:, :1].expand(16, 16))


def test_labels_that_are_resized_stay_classes() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), (40, 40))
    _, small = cut([np.zeros((40, 40, 3), np.uint8), labels], "resize_24_randomcrop_16x16", np.random.default_rng(0))
    assert set(np.unique(small)) == {0, 7, 255}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "found no label map 'seg.png': name it in the source's masks"),
        ({"seg.png": np.zeros((32, 32, 3), np.uint8)}, r"expected class ids, uint8 \(H, W\)"),
        ({"seg.png": np.zeros((16, 32), np.uint8)}, r"\(16, 32\), its picture \(32, 32\)"),
    ],
)
def test_a_sample_without_fitting_labels_is_bad(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSample, match=message):
        label_map(Inputs("k", np.zeros((32, 32, 3), np.uint8), None, columns), "seg.png")


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
    found = [objective.iterate_jointly(source, target, ["a"] * 2, draws(), alone) for _ in range(4)]
    assert {"l1", "l2", "gan", "disc", "patch", "patch_disc"} <= found[0].keys()
    assert found[-1]["l1"] < found[0]["l1"]
    assert set(objective.networks()) == {"unet", "vae", "disc", "patch"}


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_patch": 1}, "belongs to joint: true"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "labels": "seg.png"}, "give one of them a weight"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_tone": 1}, "name the label map"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "lambda_keep": 1}, "belong to joint: true"),
        (
            "cyclegan_turbo",
            {"caption_a": "a", "caption_b": "b", **KEEPING, "joint": True, "scales": [1, 3]},
            "no multiple",
        ),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "tone_maps": ["d.png"]}, "are for lambda_tone"),
        ("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", "carry_a2b": [2]}, "are for lambda_tone"),
        (
            "cyclegan_turbo",
            {"caption_a": "a", "caption_b": "b", **KEEPING, "joint": True, "tone_weights": {2: 3}},
            "no class 2",
        ),
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
