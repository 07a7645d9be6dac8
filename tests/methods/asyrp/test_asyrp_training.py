"""The recorded training steps of the official program, and what the loop asks of an objective."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods
from methods import BadSample, InputError, Inputs
from methods.asyrp.process import generate, noise_pair, reverse_plan, sequence
from methods.asyrp.recorded_shift import RecordedShift
from methods.asyrp.text_pairs import PAIRS
from methods.base import Batch
from methods.nn.arcface import ArcFace
from methods.train import registry
from methods.train.asyrp.objective import AsyrpDelta
from methods.train.updates import Updates
from tests.support.datasets import picture


def build(golden: Path, **changes: Any) -> AsyrpDelta:
    params = {
        "unet": str(golden / "ddpm_edit6" / "unet_official_layout.safetensors"),
        "clip": str(golden / "train_step" / "clip"),
        "source_text": "face",
        "target_text": "smiling face",
        "t_edit": 400,
        "steps_inversion": 6,
        "steps_train": 6,
        "beta_end": 0.004,
        "norm_num_groups": 8,
        "image_size": 64,
        "images_per_pass": 2,
        "lr_every": 1,
        "lr_gamma": 0.1,
    }
    torch.manual_seed(0)
    objective = registry.build("asyrp_delta", {**params, **changes}, torch.device("cpu"), torch.float32, 10)
    assert isinstance(objective, AsyrpDelta)
    return objective


def test_losses_and_final_block_of_six_sgd_steps(golden: Path, case) -> None:
    recorded = case("train_step")
    objective = build(golden)
    assert objective.cosine == pytest.approx(recorded.about["cosine"], abs=1e-6)
    assert torch.allclose(objective.direction, recorded.inputs["text_direction"], atol=1e-6)
    assert [step.timestep for step in objective.plan] == recorded.about["seq_train"]
    prefix = "delta_init."
    start = {name.removeprefix(prefix): v for name, v in recorded.inputs.items() if name.startswith(prefix)}
    objective.block.load_state_dict(start)
    losses = []
    for number in range(2):
        picture, latent = (recorded.inputs[name][number : number + 1] for name in ("x0", "x_lat"))
        losses += objective.descend(objective.know(picture, latent), Updates())
    limit = recorded.about["tolerance"]["losses"]
    recorded.check(torch.tensor([loss.l1 for loss in losses]), "l1", limit)
    recorded.check(torch.tensor([loss.clip for loss in losses]), "clip_directional_distance", limit)
    recorded.check(torch.tensor([loss.total for loss in losses]), "total_loss", limit)
    for name, value in objective.block.state_dict().items():
        recorded.check(value, f"delta_final.{name}", recorded.about["tolerance"]["delta_final_relative_l2"])


def test_transform_step_and_resume(golden: Path, tmp_path: Path) -> None:
    def batch(objective: AsyrpDelta, number: int) -> Any:
        sample = objective.transform("images", Inputs(f"k{number}", picture(number)), np.random.default_rng(0))
        assert isinstance(sample["image"], torch.Tensor)
        return {"images": {"image": sample["image"][None], "key": [sample["key"]]}}

    straight, stopped = build(golden), build(golden)
    for step in range(4):
        losses = straight.step(batch(straight, step % 2), step, torch.Generator(), Updates())
    assert set(losses) == {"total", "clip", "l1"}
    assert len(straight._known) == 2
    for step in range(2):
        stopped.step(batch(stopped, step % 2), step, torch.Generator(), Updates())
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = build(golden)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    shares = [resumed.info.schedule(resumed.params, step, 4) for step in range(4)]
    assert shares == pytest.approx([1, 1, 0.1, 0.1])
    for step in range(2, 4):
        resumed.step(batch(resumed, step % 2), step, torch.Generator(), Updates())
    for name, value in straight.block.state_dict().items():
        assert torch.equal(value, resumed.block.state_dict()[name]), name


def test_training_lowers_the_loss_and_the_export_is_a_method(golden: Path, tmp_path: Path) -> None:
    objective = build(golden, l1_weight=0.0, lr=0.2, images_per_pass=100)
    sample = objective.transform("images", Inputs("k", picture(3, (64, 64))), np.random.default_rng(0))
    assert isinstance(sample["image"], torch.Tensor)
    batch: Any = {"images": {"image": sample["image"][None], "key": ["k"]}}
    losses = [objective.step(batch, step, torch.Generator(), Updates())["total"] for step in range(8)]
    assert losses[-1] < losses[0]
    found = objective.validate({"images": [sample]})
    assert set(found.metrics) == {"total", "clip", "l1"}
    assert found.pictures["source and edit"].shape == (64, 128, 3)
    averaged = {"block": {name: value.clone() for name, value in objective.block.state_dict().items()}}
    path = objective.export(tmp_path / "model.safetensors", averaged, {})
    assert path.name == "model.pth"
    method = methods.load(
        "asyrp",
        weights=objective.params.unet,
        attributes=[{"block": str(path)}],
        t_edit=400,
        t_boost=0,
        steps=6,
        steps_inversion=6,
        steps_train=6,
        beta_end=0.004,
        norm_num_groups=8,
        image_size=64,
    )
    edited = method.translate(Batch(batch["images"]["image"], seeds=[0]))
    shown = torch.from_numpy(found.pictures["source and edit"][:, 64:].copy()).permute(2, 0, 1) / 127.5 - 1
    assert float((edited[0] - shown).abs().max()) < 2 / 127.5


def test_the_identity_loss_is_its_formula_and_reaches_the_block(
    golden: Path, case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own restatement in float64; the release's code gives the same number, but detaches the side that is trained."""
    torch.manual_seed(5)
    network = ArcFace().eval().requires_grad_(False)
    monkeypatch.setattr("methods.train.asyrp.objective.load_arcface", lambda path: network)
    file = str(golden / "train_step" / "case.json")
    plain = build(golden)
    objective = build(golden, id_weight=2.0, face_weights=file)
    recorded = case("train_step")
    for one in (plain, objective):
        prefix = "delta_init."
        one.block.load_state_dict({n.removeprefix(prefix): v for n, v in recorded.inputs.items() if prefix in n})
    known = plain.know(recorded.inputs["x0"][:1], recorded.inputs["x_lat"][:1])
    (last,) = plain.descend(known, Updates())[:1]
    found = objective.descend(objective.know(recorded.inputs["x0"][:1], recorded.inputs["x_lat"][:1]), Updates())
    assert found[0].total == pytest.approx(last.total + 2 * found[0].identity, abs=1e-5)
    moved = zip(objective.block.parameters(), plain.block.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in moved)

    step, latent = objective.plan[0], recorded.inputs["x_lat"][:1]
    fresh = build(golden)
    fresh.block.load_state_dict({n.removeprefix(prefix): v for n, v in recorded.inputs.items() if prefix in n})
    with torch.no_grad():
        eps, shifted = noise_pair(fresh.unet, latent, step.timestep, fresh.shift)
    precise = copy.deepcopy(network).double()

    def face(noise: torch.Tensor) -> torch.Tensor:
        x0 = (latent.double() - (1 - step.alpha_from) ** 0.5 * noise.double()) / step.alpha_from**0.5
        whole = torch.nn.functional.adaptive_avg_pool2d(x0, 256)[..., 35:223, 32:220]
        return precise(torch.nn.functional.adaptive_avg_pool2d(whole, 112))[0]

    assert found[0].identity == pytest.approx(1 - float(face(eps) @ face(shifted)), abs=1e-4)
    assert found[0].identity > 1e-3


def images_of(objective: AsyrpDelta, *numbers: int) -> Any:
    samples = [objective.transform("images", Inputs(f"k{n}", picture(n)), np.random.default_rng(0)) for n in numbers]
    images = [sample["image"] for sample in samples]
    return {"images": {"image": torch.stack(images), "key": [f"k{n}" for n in numbers]}}  # type: ignore[arg-type]


@pytest.mark.parametrize("ignore_timesteps", [False, True])
def test_shifts_without_a_block_are_sgd_on_the_papers_formula(
    golden: Path, tmp_path: Path, ignore_timesteps: bool
) -> None:
    """One pass against autograd on h + shift written out; then the file as an attribute of the method."""
    objective = build(golden, trained="shifts", ignore_timesteps=ignore_timesteps, lr=0.3)
    timesteps = [step.timestep for step in objective.plan]
    assert isinstance(objective.block, RecordedShift)
    assert objective.block.timesteps == ([0] if ignore_timesteps else sorted(timesteps))
    start = objective.block.by_timestep()
    shifts = {timestep: value.clone().requires_grad_() for timestep, value in start.items()}
    batch = images_of(objective, 1, 2)
    known = objective.know(batch["images"]["image"])
    x = torch.stack([one.latent for one in known])
    for number, step in enumerate(objective.plan):
        shift = shifts[0 if ignore_timesteps else step.timestep]
        with torch.no_grad():
            embedding = objective.unet.embed(torch.full((2,), float(step.timestep)))
            encoded = objective.unet.encode(x, embedding)
            plain = objective.unet.decode(encoded, embedding)
        moved = objective.unet.decode(type(encoded)(encoded.bottleneck + shift, encoded.skips), embedding)
        x0 = (x - (1 - step.alpha_from) ** 0.5 * moved) / step.alpha_from**0.5
        features = torch.stack([one.features for one in known])
        away = objective._unit_features(x0) - features
        distance = 1 - (away / (away.norm(dim=-1, keepdim=True) + 1e-7) * objective.direction).sum(-1)
        unedited = torch.stack([one.plain[number] for one in known])
        l1 = (x0 - unedited).abs().flatten(1).mean(1)
        loss = (-torch.log((2 - distance) / 2) + 3 * objective.cosine * l1).mean()
        (gradient,) = torch.autograd.grad(loss, shift)
        with torch.no_grad():
            shift -= 0.3 * gradient
            x = step.alpha_to**0.5 * x0 + (1 - step.alpha_to) ** 0.5 * plain
    objective.step(batch, 0, torch.Generator(), Updates())
    found = objective.block.by_timestep()
    for timestep, value in shifts.items():
        torch.testing.assert_close(found[timestep], value.detach(), rtol=1e-4, atol=1e-5)
        assert (found[timestep] - start[timestep]).abs().max() > 1e-5

    path = objective.export(tmp_path / "shifts.safetensors", None, {})
    settings = {"t_edit": 400, "t_boost": 0, "steps": 6, "steps_inversion": 6, "steps_train": 6, "beta_end": 0.004}
    method = methods.load(
        "asyrp",
        weights=objective.params.unet,
        attributes=[{"block": str(path)}],
        image_size=64,
        norm_num_groups=8,
        ignore_timesteps=ignore_timesteps,
        **settings,
    )
    (held,) = method.shift.blocks  # type: ignore[attr-defined]
    for timestep, value in found.items():
        assert torch.equal(held.at(timestep), value)
    state = objective.state_dict()
    again = build(golden, trained="shifts", ignore_timesteps=ignore_timesteps)
    again.load_state_dict(state)
    assert torch.equal(again.block.state_dict()["shifts"], objective.block.state_dict()["shifts"])


def test_training_from_noise_uses_the_pictures_that_the_model_makes(golden: Path) -> None:
    objective = build(golden, start="noise")
    known = objective._start(images_of(objective, 1, 2)["images"]["image"], ["a", "b"])
    # whatever the picture, the noise is that of its key
    (again,) = objective._start(torch.zeros(1, 3, 64, 64), ["b"])
    torch.testing.assert_close(known[1].latent, again.latent)
    torch.testing.assert_close(known[1].features, again.features, rtol=1e-3, atol=1e-4)
    assert not torch.equal(known[0].latent, known[1].latent)
    assert abs(float(known[0].latent.std()) - 1) < 0.05
    plan = reverse_plan(objective.alphas, sequence(6, 999), 400, 0)
    made = generate(objective.unet, known[0].latent[None], plan, None, lambda t: torch.zeros(()))
    torch.testing.assert_close(objective._unit_features(made)[0], known[0].features, rtol=1e-3, atol=1e-4)
    sample = {name: value[0] for name, value in images_of(objective, 1)["images"].items()}
    assert objective.validate({"images": [sample]}).metrics.keys() == {"total", "clip", "l1"}


def test_named_pairs_of_texts(golden: Path) -> None:
    named = build(golden, texts="smiling", source_text=None, target_text=None)
    assert torch.equal(named.direction, build(golden).direction)
    assert len(PAIRS) == 104
    assert all(source != target for source, target in PAIRS.values())
    known = {
        "dog_happy": ("Dog", "Happy Dog"),
        "young": ("person", "young person"),
        "church_factory": ("church", "factory with chimneys"),
        "metface_sad": ("painting of a person", "painting of a Sad person"),
        "orange2ping_pong_ball": ("a photo of an orange", "a photo of a ping pong ball"),
        "frida": ("photo", "self-portrait by Frida Kahlo"),
    }
    assert {name: PAIRS[name] for name in known} == known


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": "smilin"}, "no pair of texts 'smilin': did you mean 'smiling'"),
        ({"texts": "smiling"}, "set either texts, or source_text and target_text"),
        ({"source_text": None}, "source_text is missing: set both texts or none"),
        ({"source_text": None, "target_text": None}, r"the texts are missing: set texts \(such as smiling\)"),
        ({"trained": "shifts", "t_edit": 0}, "no place for timestep 0, set t_edit to 1"),
    ],
)
def test_texts_and_shifts_that_do_not_work(golden: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        build(golden, **changes)
    assert "\n" not in str(error.value)


def test_wrong_parameters(golden: Path) -> None:
    with pytest.raises(InputError, match="there is no direction to train"):
        build(golden, target_text="face")
    with pytest.raises(InputError, match="t_edit is not set"):
        build(golden, t_edit=None)
    with pytest.raises(InputError, match="image_size is 63, expected a multiple of 2"):
        build(golden, image_size=63)
    with pytest.raises(InputError, match="no parameter 'sorce_text': did you mean 'source_text'"):
        build(golden, sorce_text="face")
    with pytest.raises(InputError, match="id_weight needs face_weights"):
        build(golden, id_weight=1.0)
    with pytest.raises(InputError, match="face_weights without id_weight does nothing"):
        build(golden, face_weights="face.pth")
    with pytest.raises(BadSample):
        build(golden).transform("images", Inputs("k", None), np.random.default_rng(0))
