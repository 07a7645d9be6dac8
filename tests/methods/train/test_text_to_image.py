"""A small text-to-image model: both stages step, resume, and the exported file is a model that both editors load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from safetensors.torch import save_file

import methods
from methods.base import Batch, Inputs
from methods.errors import BadSample, InputError
from methods.nn.model_pack import unpack
from methods.train import registry
from methods.train.text_to_image.info import INFO, TextToImageParams
from methods.train.text_to_image.objective import TextToImageTraining
from methods.train.updates import Updates
from tests.support.datasets import picture

SMALL: dict[str, Any] = {
    "size": 32,
    "vae_steps": 6,
    "vae_widths": [8, 8, 8],
    "unet_widths": [8, 16],
    "text_width": 16,
    "text_layers": 1,
    "vocabulary": 200,
}


def built(**params: Any) -> TextToImageTraining:
    torch.manual_seed(0)
    objective = registry.build("text_to_image", {**SMALL, **params}, torch.device("cpu"), torch.float32, 20)
    assert isinstance(objective, TextToImageTraining)
    return objective


def samples(objective: TextToImageTraining) -> list[Any]:
    captions = ["a street at night", "a street in the day", "cars in the snow"]
    return [
        objective.transform("captioned", Inputs("k", picture(n, (48, 40)), caption), np.random.default_rng(0))
        for n, caption in enumerate(captions)
    ]


def run(objective: TextToImageTraining, steps: range) -> list[dict[str, float]]:
    rows = samples(objective)
    batch = {"captioned": {name: torch.stack([row[name] for row in rows]) for name in ("image", "ids")}}
    return [dict(objective.step(batch, n, torch.Generator().manual_seed(n), Updates())) for n in steps]


def test_both_stages_and_a_resumed_run(tmp_path: Path) -> None:
    whole = built()
    losses = run(whole, range(12))
    assert set(losses[5]) == {"vae", "kl", "latent_deviation"}
    assert set(losses[6]) == {"noise"}
    assert losses[5]["vae"] < losses[0]["vae"]
    first, second = built(), built()
    run(first, range(8))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(second, range(8, 12))[-1] == losses[-1]


def test_blocks_begin_as_their_shortcuts_and_colours_pass_the_norms() -> None:
    objective = built()
    for network in (objective.vae, objective.unet):
        blocks = [block for block in network.modules() if isinstance(block, ResnetBlock2D)]
        assert blocks
        for block in blocks:
            x = torch.randn(1, block.in_channels, 4, 4)
            time = None if block.time_emb_proj is None else torch.randn(1, block.time_emb_proj.in_features)
            shortcut = x if block.conv_shortcut is None else block.conv_shortcut(x)
            assert torch.equal(block(x, time), shortcut)
    norms = [norm for norm in objective.vae.modules() if isinstance(norm, torch.nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {1}


def test_each_stage_has_a_learning_rate_that_rises_and_falls() -> None:
    params = TextToImageParams(vae_steps=100, lr_warmup=10, vae_lr_decay_from=0.5, lr_decay_from=0.8)
    shares = [INFO.schedule(params, step, 300) for step in range(300)]
    assert shares[0] == shares[100] == 0.1
    assert shares[10:51] == [1.0] * 41
    assert shares[110:261] == [1.0] * 151
    assert shares[99] == pytest.approx(0.02)
    assert shares[299] == pytest.approx(0.025)
    assert all(INFO.schedule(TextToImageParams(vae_steps=100), step, 300) == 1.0 for step in (0, 99, 100, 299))


def test_each_stage_moves_its_own_networks() -> None:
    objective = built()
    before = {name: [p.clone() for p in net.parameters()] for name, net in objective.networks().items()}

    def moved() -> set[str]:
        now = objective.networks()
        return {n for n in before if any((a != b).any() for a, b in zip(before[n], now[n].parameters(), strict=True))}

    run(objective, range(2))
    assert moved() == {"vae"}
    before = {name: [p.clone() for p in net.parameters()] for name, net in objective.networks().items()}
    run(objective, range(6, 8))
    assert moved() == {"unet", "text_encoder"}


def test_an_autoencoder_with_a_perceptual_distance_and_a_critic(tmp_path: Path) -> None:
    extra = {"vae_steps": 6, "vae_perceptual": 0.3, "vae_adversarial": 0.1}
    whole = built(**extra)
    assert set(whole.networks()) == {"vae", "unet", "text_encoder"}
    assert whole.critic is not None
    before = [p.detach().clone() for p in whole.critic.parameters()]
    losses = run(whole, range(3))
    assert set(losses[-1]) == {"vae", "kl", "perceptual", "latent_deviation"}
    assert all(torch.equal(a, b) for a, b in zip(before, whole.critic.parameters(), strict=True))
    losses = run(whole, range(3, 8))
    assert set(losses[0]) == {"vae", "kl", "perceptual", "critic", "adversarial", "latent_deviation"}
    assert set(losses[-1]) == {"noise"}
    assert all(not torch.equal(a, b) for a, b in zip(before, whole.critic.parameters(), strict=True))
    first, second = built(**extra), built(**extra)
    run(first, range(4))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(second, range(4, 8))[-1] == losses[-1]
    again = [built(**extra), built(**{**extra, "vae_adversarial": 0.0})]
    moved = []
    for objective in again:
        run(objective, range(4))
        moved.append(next(iter(objective.vae.decoder.conv_out.parameters())).detach())
    assert not torch.equal(*moved)


def test_validation_moves_nothing(tmp_path: Path) -> None:
    objective = built()
    run(objective, range(7))
    deviation = objective.deviation
    found = objective.validate({"captioned": samples(objective)})
    assert set(found.metrics) == {"vae", "noise"}
    assert objective.deviation == deviation
    assert len(found.pictures) == 3
    assert next(iter(found.pictures.values())).shape == (32, 96, 3)


def test_the_exported_file_is_a_model(tmp_path: Path) -> None:
    objective = built()
    run(objective, range(8))
    averaged = {name: {k: v.detach() for k, v in net.named_parameters()} for name, net in objective.networks().items()}
    path = objective.export(tmp_path / "model.safetensors", averaged, {"steps": "8"})
    zero = methods.load(
        "pix2pix_zero", weights=str(path), source="day", target="night", steps=3, image_prep="no_resize"
    )
    guided = methods.load(
        "self_guidance",
        weights=str(path),
        edits=[{"edit": "move", "words": ["street"], "by": [0.2, 0.0]}],
        steps=2,
        image_prep="no_resize",
    )
    model = zero.model  # type: ignore[attr-defined]
    assert model.scaling_factor == pytest.approx(1 / objective.deviation)
    assert model.text.padded(["a street at night"])[0].tolist() == objective._ids("a street at night").tolist()
    # words of the prompts are one token each, others still have some
    assert len(model.text.ids("street")) == 3
    assert len(model.text.ids("xylophone")) > 4
    for method in (zero, guided):
        x = method.prepare(Inputs("k", picture(1, (32, 32)), "a street at night"))[None]
        assert method.translate(Batch(x, [1], captions=["a street at night"])).shape == (1, 3, 32, 32)
    assert unpack(path) == unpack(path)


def test_the_published_size_fits() -> None:
    torch.manual_seed(0)
    objective = registry.build("text_to_image", {}, torch.device("cpu"), torch.float32, 60_000)
    count = sum(parameter.numel() for net in objective.networks().values() for parameter in net.parameters())
    assert 2 * count < 6e6


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vae_steps is 20 of 20 steps"):
        built(vae_steps=20)
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        built(sentences=str(tmp_path / "nowhere.txt"))
    objective = built()
    for caption, reason in ((None, "no_caption"), ("xyz " * 40, "caption_too_long")):
        with pytest.raises(BadSample) as error:
            objective.transform("captioned", Inputs("k", picture(1), caption), np.random.default_rng(0))
        assert error.value.reason == reason
    with pytest.raises(InputError, match=r"written as \.safetensors"):
        objective.export(tmp_path / "model.pkl", None, {})


@pytest.mark.parametrize("name", ["../unet/config.json", "/etc/passwd", "unet/../../x", "config.json"])
def test_names_in_a_file_stay_inside(tmp_path: Path, name: str) -> None:
    metadata = {"format": "sceneshift-latent-model-1", "files": json.dumps({name: "x"}), "about": "{}"}
    save_file({"unet/a.safetensors:w": torch.zeros(1)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(InputError, match="expected PART/FILE"):
        unpack(tmp_path / "m.safetensors")
    assert not list(tmp_path.rglob("x"))
