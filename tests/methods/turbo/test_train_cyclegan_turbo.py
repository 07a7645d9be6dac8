"""CycleGAN-Turbo's training step against the official script's recorded iteration; checkpoints and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import methods
from methods import Batch, InputError, Inputs
from methods.train import registry
from methods.train.cyclegan_turbo.info import CycleGANTurboTrainParams
from methods.train.cyclegan_turbo.objective import CycleGANTurboTraining
from methods.train.cyclegan_turbo.official import cyclegan_adapters, fold, group_of
from methods.train.cyclegan_turbo.parts import adapted_parts
from methods.train.draws import Draws
from methods.train.losses.backbones import clip_normalised
from methods.train.losses.vision_aided import VisionAidedDiscriminator
from methods.train.updates import Updates
from methods.turbo.generator import build_unet
from tests.methods.train.test_losses import tiny_lpips

CPU = torch.device("cpu")


class TinyBackbone(nn.Module):
    """The recorded run's stand-in for CLIP."""

    channels = (8, 8, 6)

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.c1, self.c2, self.fc = nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 6)
        prefix = "disc_backbone."
        self.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = nn.functional.interpolate(images * 0.5 + 0.5, size=(56, 56), mode="area")
        first = self.c1(clip_normalised(x)).relu()
        second = self.c2(first).relu()
        return [first, second, self.fc(second.mean((2, 3)))]


def tiny_discriminator(state: dict[str, Tensor], name: str, real_target: float) -> VisionAidedDiscriminator:
    discriminator = VisionAidedDiscriminator(TinyBackbone(state), hidden=8, real_target=real_target)
    discriminator.head.load_state_dict(
        {n.removeprefix(f"{name}."): v for n, v in state.items() if n.startswith(f"{name}.")}
    )
    return discriminator


AUGMENT = ("brightness", "saturation", "contrast", "translation_x", "translation_y", "cutout_x", "cutout_y")


def augment_draws(inputs: dict[str, Tensor], first: int, name: str) -> dict[str, Tensor]:
    ordered = {int(key[4:7]): value for key, value in inputs.items() if key.startswith("draw")}
    return {f"{name}.{what}": ordered[first + place] for place, what in enumerate(AUGMENT)}


def params(base: str, **changes: Any) -> CycleGANTurboTrainParams:
    tree = {
        "base": base,
        "caption_a": "picture of a horse",
        "caption_b": "picture of a zebra",
        "rank_unet": 4,
        "rank_vae": 4,
        "lr": 1e-4,
        "image_prep": "no_resize",
        "perceptual": "efflite0",
        "backbone": "efflite0",
        "head_width": 8,
        **changes,
    }
    return CycleGANTurboTrainParams(**tree)


def golden_objective(golden: Path, base: str, **changes: Any) -> CycleGANTurboTraining:
    standins = load_file(golden / "train_step_cyclegan" / "standins.safetensors")
    chosen = params(base, start=f"{base}/cyclegan_turbo.pkl", **changes)
    parts = adapted_parts(chosen)
    parts.vaes["b2a"].load_state_dict(parts.vaes["a2b"].state_dict())
    discriminators = {name: tiny_discriminator(standins, name, 1.0) for name in ("disc_a", "disc_b")}
    return CycleGANTurboTraining(chosen, parts, tiny_lpips(standins), discriminators, CPU, torch.float32)


def golden_draws(inputs: dict[str, Tensor]) -> Draws:
    ordered = {int(key[4:7]): value for key, value in inputs.items() if key.startswith("draw")}
    recorded = {
        f"{name}.latent": ordered[place]
        for name, place in (
            ("cycle.a2b", 0),
            ("cycle.a2b.b2a", 2),
            ("cycle.b2a", 4),
            ("cycle.b2a.a2b", 6),
            ("gan.b2a", 8),
            ("gan.a2b", 10),
            ("identity.a2b", 26),
            ("identity.b2a", 28),
        )
    }
    for first, name in (
        (12, "gan.disc_a"),
        (19, "gan.disc_b"),
        (30, "fake.disc_a"),
        (37, "fake.disc_b"),
        (44, "real.disc_a"),
        (51, "real.disc_b"),
    ):
        recorded |= augment_draws(inputs, first, name)
    return Draws(torch.Generator(), CPU, recorded)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_recorded_iteration(golden: Path, base: str, checkpointing: bool, monkeypatch: Any) -> None:
    inputs = load_file(golden / "train_step_cyclegan" / "inputs.safetensors")
    expected = load_file(golden / "train_step_cyclegan" / "expected.safetensors")
    objective = golden_objective(golden, base, checkpointing=checkpointing)
    outputs: list[Tensor] = []
    generate = objective.generate

    def spy(images: Tensor, direction: str, noise: Tensor) -> Tensor:
        found = generate(images, direction, noise)
        outputs.append(found.detach())
        return found

    monkeypatch.setattr(objective, "generate", spy)
    updates = Updates()
    found = objective.iterate(inputs["img_a"], inputs["img_b"], golden_draws(inputs), updates)
    for name in ("cycle_a", "cycle_b", "gan_a", "gan_b", "idt_a", "idt_b", "disc_a", "disc_b"):
        assert found[name] == pytest.approx(float(expected[f"dedup.log.{name}"]), rel=1e-4), name
    for ours, theirs in (
        ("cycle", "cycle"),
        ("gan", "gan_generator"),
        ("identity", "identity"),
        ("disc_fake", "disc_fake"),
        ("disc_real", "disc_real"),
    ):
        wanted = float(expected[f"dedup.grad_norm_before_clip.{theirs}"])
        assert updates.norms[ours] == pytest.approx(wanted, rel=5e-3), ours
    assert len(outputs) == 8
    for number in range(4):
        wanted = expected[f"forward{number}.output_stride4"]
        torch.testing.assert_close(outputs[number][..., ::4, ::4], wanted, atol=1e-3, rtol=0)


def batch(count: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {name: {"image": torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1} for name in ("a", "b")}


def trained(base: str, steps: int = 2, **changes: Any) -> CycleGANTurboTraining:
    torch.manual_seed(0)
    objective = CycleGANTurboTraining.build(params(base, lr=1e-3, **changes), CPU, torch.float32, 10)
    for step in range(steps):
        objective.step(batch(), step, torch.Generator().manual_seed(step), Updates())
    return objective


def translated(weights: Path, base: str, **more: Any) -> Tensor:
    method = methods.load(
        "cyclegan_turbo", weights=str(weights), base=base, image_prep="no_resize", **{"direction": "a2b", **more}
    )
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return method.translate(Batch(method.prepare(Inputs("k", image))[None], [5]))


def test_both_exports_do_what_training_does(base: str, tmp_path: Path) -> None:
    objective = trained(base, rank_unet=48)
    own, official = tmp_path / "m.safetensors", tmp_path / "m.pkl"
    assert objective.export(own, None, {"spec": "x"}) == own
    objective.export(official, None, {})
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    x = objective.transform("a", Inputs("k", image), np.random.default_rng(0))["image"]
    assert isinstance(x, Tensor)
    noise = Batch(x[None], [5]).noise((4, 8, 8), "latent")
    with torch.no_grad():
        wanted = objective.generate(x[None], "a2b", noise)
    torch.testing.assert_close(translated(own, base), wanted, atol=1e-3, rtol=0)
    distance = (translated(official, base, caption="picture of a zebra") - wanted).norm() / wanted.norm()
    # the bias, which the format cannot hold
    assert distance < 2e-2
    # what the official script would have written forgets the first layer
    forgetful = torch.load(official, weights_only=True)
    state = objective.unet.state_dict()
    for half in ("lora_A", "lora_B"):
        forgetful["sd_encoder"][f"conv_in.{half}.weight"] = state[f"conv_in.{half}.default.weight"]
    torch.save(forgetful, tmp_path / "forgetful.pkl")
    lost = (translated(tmp_path / "forgetful.pkl", base, caption="picture of a zebra") - wanted).norm() / wanted.norm()
    assert lost > 2 * distance
    with pytest.raises(InputError, match="expected a name ending in"):
        objective.export(tmp_path / "m.onnx", None, {})


def test_a_checkpoint_holds_the_first_layer_and_goes_on_to_the_bit(base: str, tmp_path: Path) -> None:
    whole = trained(base, 3)
    half = trained(base, 2)
    torch.save(half.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert "conv_in.base_layer.weight" in state["networks"]["unet"]
    assert not any(name.endswith("conv2.base_layer.weight") for name in state["networks"]["unet"])
    torch.manual_seed(77)
    resumed = CycleGANTurboTraining.build(params(base, lr=1e-3), CPU, torch.float32, 10)
    resumed.load_state_dict(state)
    resumed.step(batch(), 2, torch.Generator().manual_seed(2), Updates())
    for name, network in whole.networks().items():
        other = resumed.networks()[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in network.state_dict().items())
    del state["networks"]["unet"]["conv_in.base_layer.weight"]
    with pytest.raises(InputError, match=r"'unet\.conv_in\.base_layer\.weight' is missing"):
        resumed.load_state_dict(state)


def test_fine_tuning_starts_where_the_released_file_ends(base: str, official: Path, tmp_path: Path) -> None:
    objective = trained(base, 0, start=str(official))
    objective.export(tmp_path / "again.pkl", None, {})
    one = translated(official, base, caption="picture of a zebra")
    torch.testing.assert_close(
        translated(tmp_path / "again.pkl", base, caption="picture of a zebra"), one, atol=2e-4, rtol=0
    )
    objective.export(tmp_path / "own.safetensors", None, {})
    from_own = trained("nowhere/needed", 0, start=str(tmp_path / "own.safetensors"))
    from_own.export(tmp_path / "own2.safetensors", None, {})
    torch.testing.assert_close(translated(tmp_path / "own2.safetensors", base), one, atol=5e-4, rtol=0)
    with pytest.raises(InputError, match=r"rank_unet is 4, the training spec has 8: set rank_unet: 4"):
        trained(base, 0, start=str(official), rank_unet=8)
    with pytest.raises(InputError, match="found a pix2pix_turbo checkpoint"):
        trained(base, 0, start=f"{base}/pix2pix_turbo.pkl")


def test_what_is_trained(base: str) -> None:
    objective = trained(base, 0)
    names = {name for name, p in objective.unet.named_parameters() if p.requires_grad}
    assert {name for name in names if ".lora_" not in name} == {"conv_in.base_layer.weight", "conv_in.base_layer.bias"}
    for vae in objective.vaes.values():
        assert all(".lora_" in name for name, p in vae.named_parameters() if p.requires_grad)
        torch.testing.assert_close(vae.skip_conv(1).weight, torch.full_like(vae.skip_conv(1).weight, 1e-5))
    # 396 in the recorded run, of which 8 (the skip convolutions' own weights) are frozen
    assert len(objective.trained) == 388
    assert len(set(map(id, objective.trained))) == 388


def test_the_full_size_unet_has_the_published_adapters() -> None:
    config = {
        "sample_size": 64,
        "block_out_channels": [320, 640, 1280, 1280],
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    }
    with torch.device("meta"):
        modules = cyclegan_adapters(build_unet(config))
    groups = [group_of(module) for module in modules]
    assert [groups.count(name) for name in ("sd_encoder", "sd_decoder", "sd_other")] == [94, 147, 17]


def test_folding_is_exact_at_full_rank() -> None:
    weight = torch.randn(8, 4, 3, 3)
    from methods.turbo.lora import lora_delta

    torch.testing.assert_close(lora_delta(*fold(weight, 12), 1.0), weight)
    assert (lora_delta(*fold(weight, 2), 1.0) - weight).norm() < weight.norm()


def test_bfloat16_keeps_latents_and_weights_in_float32(base: str) -> None:
    torch.manual_seed(0)
    objective = CycleGANTurboTraining.build(params(base), CPU, torch.bfloat16, 10)
    found = objective.step(batch(), 0, torch.Generator().manual_seed(0), Updates())
    assert all(np.isfinite(value) for value in found.values())
    assert {p.dtype for p in objective.trained} == {torch.float32}
    x = batch()["a"]["image"]
    noise = torch.randn(1, 4, 8, 8)
    whole = trained(base, 0)
    whole.load_state_dict(objective.state_dict())
    with torch.no_grad():
        distance = (objective.generate(x, "a2b", noise) - whole.generate(x, "a2b", noise)).norm()
        assert distance / whole.generate(x, "a2b", noise).norm() < 0.15


def test_the_mini_networks_learn_a_tone_from_nothing() -> None:
    torch.manual_seed(0)
    chosen = params("nowhere/needed", networks="mini", adapt="full", lr=3e-4, checkpointing=False)
    objective = CycleGANTurboTraining.build(chosen, CPU, torch.float32, 10)
    before = {name: value.clone() for name, value in objective.unet.state_dict().items()}
    found = [objective.step(batch(), step, torch.Generator().manual_seed(0), Updates()) for step in range(5)]
    assert found[-1]["cycle_a"] < found[0]["cycle_a"]
    assert any(not torch.equal(value, before[name]) for name, value in objective.unet.state_dict().items())
    samples = {name: [{"image": tree["image"][0]}] for name, tree in batch().items()}
    said = objective.validate(samples)
    assert set(said.pictures) == {"a, a2b, and back", "b, b2a, and back"}
    assert said.pictures["a, a2b, and back"].shape == (64, 192, 3)
    assert {"a.cycle_l1", "b.identity_lpips"} <= set(said.metrics)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_prep": "resize_20_randomcrop_256x256"}, "must be multiples of 8 and fit into 20x20"),
        ({"image_prep": "squash"}, "or resize_N_randomcrop"),
        ({"rank_unet": 0}, "rank_unet"),
        ({"caption_b": None}, "caption_b"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.resolve("cyclegan_turbo", {"caption_a": "a", "caption_b": "b", **changes})


def test_networks_that_cannot_be_are_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set adapt: full and no start"):
        trained(base, 0, networks="mini")
    with pytest.raises(InputError, match="train it with adapt: lora"):
        trained(base, 0, start=f"{base}/cyclegan_turbo.pkl", adapt="full")
    with pytest.raises(InputError, match="no such file"):
        trained(str(tmp_path / "none"), 0)
    trained(base, 0).export(tmp_path / "own.safetensors", None, {})
    with pytest.raises(InputError, match="holds no embedding of the caption 'another'"):
        trained(base, 0, start=str(tmp_path / "own.safetensors"), caption_a="another")
