"""One recipe for all objectives: schedules, accumulation, clipping, float16; resume to the bit with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.optimization import get_scheduler
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from methods.errors import InputError
from methods.train import blocks, registry
from methods.train.blocks import blocks_of, checkpoint_blocks
from methods.train.checkpoint import checkpoint_path, load_checkpoint
from methods.train.loop import FitConfig, check_recipe, equip, fit
from methods.train.objective import Objective, Streams
from methods.train.recipe import Recipe
from methods.train.updates import Rates, Updates, prescribe
from tests.methods.train.test_precision import CPU, PARAMS
from tests.methods.train.test_precision import batches as denoiser_batch

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "asyrp"
TURBO: dict[str, Any] = {
    "networks": "mini",
    "adapt": "full",
    "perceptual": "efflite0",
    "backbone": "efflite0",
    "head_width": 8,
    "image_prep": "no_resize",
    "joint": True,
    "lambda_patch": 0.1,
    "patch_width": 8,
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    **PARAMS,
    "piti_upsampler": {
        **PARAMS["piti_upsampler"],
        "model": {**PARAMS["piti_upsampler"]["model"], "side": 32},
        "small_side": 16,
        "adversarial_weight": 0.01,
        "extra_after": 0,
    },
    "pix2pix": {"width": 8, "levels": 2, "discriminator_width": 8},
    "clip": {"size": 16, "patch": 8, "vision_width": 64, "vision_layers": 1, "text_layers": 1, "warm_up": 1},
    "detector": {"classes": ["vehicle"], "width": 8, "side": 64},
    "cyclegan_turbo": {**TURBO, "caption_a": "day", "caption_b": "night", "lambda_idt": 0, "lambda_idt_lpips": 0},
    "pix2pix_turbo": {**TURBO, "caption": "day", "lambda_clipsim": 0},
    "asyrp_delta": {
        "unet": str(GOLDEN / "ddpm_edit6" / "unet_official_layout.safetensors"),
        "clip": str(GOLDEN / "train_step" / "clip"),
        "source_text": "face",
        "target_text": "smiling face",
        "t_edit": 900,
        "steps_inversion": 2,
        "steps_train": 2,
        "norm_num_groups": 8,
        "image_size": 64,
    },
}


def build(name: str, precision: torch.dtype = torch.float32) -> Objective:
    torch.manual_seed(0)
    return registry.build(name, OBJECTIVES[name], CPU, precision, 4)


def batch(name: str, number: int) -> Streams:
    if name in ("ddpm", "piti_base", "text_to_image"):
        return denoiser_batch(name)
    draw = torch.Generator().manual_seed(number)

    def images(side: int, low: float = -1.0) -> torch.Tensor:
        return torch.rand(2, 3, side, side, generator=draw) * (1 - low) + low

    if name == "pix2pix":
        return {"pairs": {"source": images(16), "target": images(16)}}
    if name == "piti_upsampler":
        return {"pairs": {"image": images(32), "small": images(16), "condition": images(256)}}
    if name == "clip":
        ids = torch.randint(0, 200, (2, 77), generator=draw)
        return {"captioned": {"image": images(16, 0), "ids": ids, "caption": ["a", "b"]}}
    if name == "detector":
        boxes = torch.full((2, 64, 5), -1.0)
        boxes[:, 0] = torch.tensor([4.0, 4.0, 30.0, 30.0, 0.0])
        return {"labelled": {"image": images(64, 0), "boxes": boxes}}
    if name == "cyclegan_turbo":
        return {"a": {"image": images(32)}, "b": {"image": images(32)}}
    if name == "pix2pix_turbo":
        return {"pairs": {"source": images(32, 0), "target": images(32), "caption": ["day", "day"]}}
    return {"images": {"image": images(64)[:1], "key": [str(number)]}}


LONG = ("asyrp_delta", "cyclegan_turbo", "pix2pix_turbo")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in sorted(OBJECTIVES)]
)
def test_a_resumed_run_is_the_same_with_accumulation_and_a_schedule(tmp_path: Path, name: str) -> None:
    recipe = Recipe(ema=0.9, accumulate=2, schedule="cosine", warmup=2, clip=5.0)
    states = []
    for parts in ([None], [1, None]):
        folder = tmp_path / str(len(parts))
        for end in parts:
            seen: list[int] = []

            def stop(seen: list[int] = seen, end: int | None = end) -> bool:
                seen.append(1)
                return len(seen) == end

            torch.manual_seed(len(parts))
            fit(build(name), lambda n: batch(name, n), FitConfig(folder, 2, recipe, checkpoint_every=2), stop=stop)
        found = load_checkpoint(checkpoint_path(folder, 2), name)
        states.append([*leaves(found.state), *leaves(found.averaged)])
    assert len(states[0]) == len(states[1]) > 4
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def leaves(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [leaf for part in parts for leaf in leaves(part)]


@given(
    schedule=st.sampled_from(["constant", "linear", "cosine", "step"]),
    warmup=st.integers(0, 20),
    decay_from=st.floats(0, 0.99),
    steps=st.integers(1, 300),
    data=st.data(),
)
def test_rates_stay_in_their_range_and_only_fall_after_the_warm_up(
    schedule: Any, warmup: int, decay_from: float, steps: int, data: st.DataObject
) -> None:
    falls = schedule in ("linear", "cosine")
    recipe = Recipe(schedule=schedule, warmup=warmup, decay_from=decay_from if falls else 0.0)
    at = data.draw(st.integers(0, steps - 1))
    assert 0.01 <= recipe.rate(at, steps) <= 1
    if at >= warmup:
        assert recipe.rate(at + 1, steps) <= recipe.rate(at, steps)
    if falls and warmup <= at + 1 and at <= decay_from * steps:
        assert recipe.rate(at, steps) == pytest.approx(1, abs=1e-6)


def test_schedules_at_known_places() -> None:
    rates = {
        name: [Recipe(schedule=name).rate(at, 100) for at in (0, 50, 75)]  # type: ignore[arg-type]
        for name in ("constant", "linear", "cosine", "step")
    }
    assert rates["constant"] == [1, 1, 1]
    assert rates["linear"] == pytest.approx([1, 0.5, 0.25])
    assert rates["cosine"] == pytest.approx([1, 0.5, 0.1464466])
    assert rates["step"] == pytest.approx([1, 0.1, 0.01])
    assert Recipe(schedule="constant", warmup=4).rate(0, 100) == 0.25
    assert Recipe(schedule="linear", decay_from=0.5).rate(75, 100) == pytest.approx(0.5)


def test_polynomial_and_restarting_schedules_are_those_of_diffusers() -> None:
    """Without warm-up and the hundredth below which ours never falls."""
    weight = torch.nn.Parameter(torch.zeros(1))
    ours = {
        "polynomial": Recipe(schedule="linear", power=3),
        "cosine_with_restarts": Recipe(schedule="cosine", cycles=3),
        "linear": Recipe(schedule="linear"),
        "cosine": Recipe(schedule="cosine"),
    }
    for name, recipe in ours.items():
        optimizer = torch.optim.SGD([weight], lr=1.0)
        theirs = get_scheduler(name, optimizer, num_warmup_steps=0, num_training_steps=60, num_cycles=3, power=3.0)
        for step in range(60):
            wanted = max(theirs.get_last_lr()[0], 0.01)
            assert recipe.rate(step, 60) == pytest.approx(wanted, abs=1e-6), (name, step)
            optimizer.step()
            theirs.step()


def layer() -> tuple[nn.Linear, torch.optim.Optimizer, torch.Tensor]:
    torch.manual_seed(1)
    network = nn.Linear(3, 2)
    return network, torch.optim.SGD(network.parameters(), lr=0.1), torch.randn(4, 3)


def test_accumulated_batches_are_one_large_batch() -> None:
    whole, optimizer, x = layer()
    updates = Updates()
    updates.backward(whole(x).square().mean())
    updates.step("only", optimizer)
    parts, optimizer, x = layer()
    updates = Updates(batches=2)
    for number, piece in enumerate(x.split(2)):
        updates.begin(number)
        updates.backward(parts(piece).square().mean())
        before = parts.weight.detach().clone()
        updates.step("only", optimizer)
        assert torch.equal(before, parts.weight) == (number == 0)
    torch.testing.assert_close(parts.weight, whole.weight)


def test_two_steps_of_an_iteration_accumulate_apart() -> None:
    network, optimizer, x = layer()
    updates = Updates(batches=2)
    for number in range(2):
        updates.begin(number)
        for name, factor in (("first", 1.0), ("second", 0.0)):
            updates.backward(factor * network(x).square().mean())
            updates.step(name, optimizer)
    assert updates.norms["first"] > 0
    assert updates.norms["second"] == 0


def test_clipping_replaces_the_objective_s_own() -> None:
    for clip, wanted in ((None, 0.5), (0.01, 0.01)):
        network, optimizer, x = layer()
        before = network.weight.detach().clone(), network.bias.detach().clone()
        updates = Updates(clip=clip)
        updates.backward(1000 * network(x).square().mean())
        updates.step("only", optimizer, clip=0.5)
        moved = torch.cat([(before[0] - network.weight).flatten(), before[1] - network.bias])
        assert float(moved.detach().norm()) == pytest.approx(0.1 * wanted, rel=1e-3)
        assert updates.norms["only"] > 100


def test_float16_scales_losses_and_leaves_out_what_overflows() -> None:
    plain, optimizer, x = layer()
    updates = Updates()
    updates.backward(plain(x).square().mean())
    updates.step("only", optimizer)
    scaled, optimizer, x = layer()
    updates = Updates(scaled=True)
    updates.backward(scaled(x).square().mean())
    updates.step("only", optimizer)
    updates.end()
    torch.testing.assert_close(scaled.weight, plain.weight)
    before = scaled.weight.detach().clone()
    updates.backward(scaled(x * 1e30).square().mean())
    updates.step("only", optimizer)
    updates.end()
    assert torch.equal(scaled.weight, before)
    again = Updates(scaled=True)
    again.load_state_dict(updates.state_dict())
    assert again.state_dict() == {"scale": 32768.0, "fitted": 0}


def test_float16_trains(tmp_path: Path) -> None:
    recipe = Recipe(precision="float16")
    seen: list[float] = []
    fit(
        build("pix2pix", torch.float16),
        lambda n: batch("pix2pix", 0),
        FitConfig(tmp_path, 12, recipe, log_every=1),
        watch=lambda progress: seen.append(progress.losses["l1"]),
    )
    assert seen[-1] < seen[0]


def test_the_recipe_reaches_every_optimizer_and_exempt_parameters_stay_exempt() -> None:
    clip, pix2pix = build("clip").optimizers(), build("pix2pix").optimizers()
    for optimizers in (clip, pix2pix):
        prescribe(optimizers, Recipe(betas=(0.7, 0.8), weight_decay=0.3))
        assert all(g["betas"] == (0.7, 0.8) for o in optimizers.values() for g in o.param_groups)
    assert [group["weight_decay"] for group in clip["clip"].param_groups] == [0.3, 0.0]
    assert [o.param_groups[0]["weight_decay"] for o in pix2pix.values()] == [0.3, 0.3]
    rates = Rates(pix2pix, lambda step: 0.5**step)
    assert rates.set(2) == pytest.approx(2e-4 / 4)
    assert {o.param_groups[0]["lr"] for o in pix2pix.values()} == {2e-4 / 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup": 5}, "warmup belongs to a schedule"),
        ({"decay_from": 0.5, "schedule": "step"}, "decay_from belongs to schedule"),
        ({"power": 2, "schedule": "cosine"}, "power belongs to schedule: linear"),
        ({"cycles": 2, "schedule": "linear"}, "cycles belongs to schedule: cosine"),
        ({"warmup": -1, "schedule": "linear"}, "warmup"),
        ({"ema": 1.0}, "ema"),
    ],
)
def test_what_would_do_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe(**changes)


def test_what_an_objective_cannot_take_is_refused() -> None:
    check_recipe(build("pix2pix"), Recipe(betas=(0.5, 0.9), checkpointing=True))
    toy = registry.build("toy_colour", {}, CPU, torch.float32, 2)
    with pytest.raises(InputError, match="checkpointing: the networks of objective 'toy_colour' have no blocks"):
        check_recipe(toy, Recipe(checkpointing=True))
    toy.optimizer = torch.optim.SGD(toy.networks()["toy"].parameters(), lr=0.1)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="betas: objective 'toy_colour' has no Adam"):
        check_recipe(toy, Recipe(betas=(0.5, 0.9)))


class Dtypes(TorchDispatchMode):
    """Which types operators give inside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.seen |= {each.dtype for each in tree_leaves(found) if isinstance(each, torch.Tensor)}
        return found


@pytest.mark.parametrize("setting", ["compile", "precision", "checkpointing"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in sorted(OBJECTIVES)]
)
def test_a_setting_is_refused_or_does_something(name: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.model_validate({setting: "bfloat16" if setting == "precision" else True})
    objective = build(name, getattr(torch, recipe.precision))
    refused = ""
    try:
        check_recipe(objective, recipe)
    except InputError as error:
        refused = str(error)
    if refused:
        assert refused.startswith(f"{setting}: ")
        return
    done: list[str] = []

    def compiled(module: nn.Module) -> None:
        # stands where torch.compile puts what it makes
        whole = module._call_impl
        module._compiled_call_impl = lambda *args, **kwargs: done.append("compile") or whole(*args, **kwargs)

    monkeypatch.setattr(nn.Module, "compile", compiled)
    again = blocks.checkpoint
    monkeypatch.setattr(blocks, "checkpoint", lambda *args, **kw: done.append("checkpointing") or again(*args, **kw))
    equip(objective, recipe)
    with Dtypes() as dtypes:
        objective.step(batch(name, 0), 0, torch.Generator().manual_seed(0), Updates())
    assert setting in done or (setting == "precision" and torch.bfloat16 in dtypes.seen)


def test_the_autoencoder_s_stage_is_compiled_by_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    equip(build("text_to_image"), Recipe(compile=True))
    assert {"Encoder", "Decoder", "AutoencoderKL"} <= set(compiled)


def test_a_later_stage_trains_with_its_own_rate(tmp_path: Path) -> None:
    first = registry.build("toy_colour", {"lr": 0.05}, CPU, torch.float32, 2)
    images: Streams = {"a": {"image": torch.rand(2, 3, 8, 8)}}
    fit(first, lambda n: images, FitConfig(tmp_path, 2))
    seen: list[float] = []
    second = registry.build("toy_colour", {"lr": 0.01}, CPU, torch.float32, 4)
    config = FitConfig(tmp_path, 4, log_every=1)
    fit(second, lambda n: images, config, watch=lambda progress: seen.append(progress.rate))
    assert seen == [0.01, 0.01]


@pytest.mark.parametrize("name", ["ddpm", "pix2pix"])
def test_checkpointed_blocks_change_no_gradient(name: str) -> None:
    norms = []
    for checkpointing in (False, True):
        objective, updates = build(name), Updates()
        network = next(iter(objective.networks().values()))
        if checkpointing:
            assert len(blocks_of(network)) > 3
            checkpoint_blocks(network)
        objective.step(batch(name, 0), 0, torch.Generator().manual_seed(0), updates)
        norms.append(updates.norms)
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.slow
def test_compiled_networks_train_alike(tmp_path: Path) -> None:
    found = []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        config = FitConfig(folder, 2, Recipe(compile=compiled))
        torch.manual_seed(0)
        objective = registry.build("toy_colour", {}, CPU, torch.float32, 2)
        # without dropout, whose random numbers a compiled network draws in another order
        objective.networks()["toy"].eval()
        fit(objective, lambda n: {"a": {"image": torch.full((2, 3, 8, 8), 0.5)}}, config)
        found.append(objective.networks()["toy"].state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-5)
