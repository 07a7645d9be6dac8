"""The student: its network, its training step against the contract, its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import methods
from methods.base import Batch, Inputs
from methods.errors import BadSample, InputError
from methods.train import registry
from methods.train.pix2pix.objective import Pix2PixTraining
from methods.train.updates import Updates
from methods.train.workers import alone
from tests.support.datasets import picture

SMALL = {"width": 8, "levels": 2, "discriminator_width": 8, "lr": 2e-3}


def built(**params: Any) -> Pix2PixTraining:
    torch.manual_seed(0)
    objective = registry.build("pix2pix", {**SMALL, **params}, torch.device("cpu"), torch.float32, 100)
    assert isinstance(objective, Pix2PixTraining)
    return objective


def pairs(objective: Pix2PixTraining, count: int = 4) -> dict[str, Any]:
    samples = []
    for number in range(count):
        before = picture(number, (48, 32))
        inputs = Inputs("k", before, None, {"target": 255 - before})
        samples.append(objective.transform("pairs", inputs, np.random.default_rng(number)))
    return {"pairs": {name: torch.stack([s[name] for s in samples]) for name in ("source", "target")}}  # type: ignore[arg-type]


def run(objective: Pix2PixTraining, steps: range) -> list[dict[str, float]]:
    batch = pairs(objective)
    return [dict(objective.step(batch, n, torch.Generator().manual_seed(n), Updates())) for n in steps]


def test_it_learns_and_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    whole = built(gan_from=2)
    losses = run(whole, range(30))
    assert set(losses[0]) == {"l1"}
    assert set(losses[2]) == {"l1", "discriminator", "gan"}
    assert losses[-1]["l1"] < 0.7 * losses[0]["l1"]
    first, second = built(gan_from=2), built(gan_from=2)
    run(first, range(15))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(second, range(15, 30))[-1] == losses[-1]


def test_every_network_is_synchronised_before_its_step() -> None:
    objective, seen = built(), []

    def share(parameters: Sequence[nn.Parameter], *rest: Any) -> None:
        seen.append(parameters)
        alone(parameters, *rest)

    objective.step(pairs(objective), 0, torch.Generator(), Updates(share))
    networks = (objective.discriminator, objective.generator)
    assert [list(map(id, one)) for one in seen] == [list(map(id, network.parameters())) for network in networks]


def test_what_is_exported_is_what_the_method_runs(tmp_path: Path) -> None:
    objective = built()
    run(objective, range(5))
    averaged = {"generator": {n: p.detach() * 0.5 for n, p in objective.generator.named_parameters()}}
    path = objective.export(tmp_path / "model.safetensors", averaged, {"steps": "5"})
    method = methods.load("pix2pix", weights=str(path))
    x = torch.stack([method.prepare(Inputs("k", picture(n, (48, 32)))) for n in range(3)])
    together = method.translate(Batch(x, [1, 2, 3]))
    alone = torch.cat([method.translate(Batch(x[n : n + 1], [n])) for n in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    objective.generator.load_state_dict(averaged["generator"])
    with torch.no_grad():
        torch.testing.assert_close(together, objective.generator(x), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"written as \.safetensors"):
        objective.export(tmp_path / "model.pkl", None, {})


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 40), (136, 72)])
def test_any_size(tmp_path: Path, height: int, width: int) -> None:
    path = built().export(tmp_path / "m.safetensors", None, {})
    method = methods.load("pix2pix", weights=str(path), dtype="bfloat16")
    x = method.prepare(Inputs("k", np.zeros((height, width, 3), np.uint8)))[None]
    output = method.translate(Batch(x, [0]))
    assert output.shape == (1, 3, height, width)
    assert output.dtype == torch.float32


def test_validation_says_what_doing_nothing_scores() -> None:
    objective = built()
    batch = pairs(objective)["pairs"]
    samples = [{name: batch[name][n] for name in batch} for n in range(2)]
    found = objective.validate({"pairs": samples})
    assert found.metrics["l1_untouched"] == pytest.approx(float((batch["source"] - batch["target"])[:2].abs().mean()))
    assert found.pictures["pair 0"].shape == (32, 3 * 48, 3)


def test_wrong_input(tmp_path: Path) -> None:
    objective = built()
    path = objective.export(tmp_path / "m.safetensors", None, {})
    with pytest.raises(InputError, match="needs weights"):
        methods.load("pix2pix")
    with pytest.raises(InputError, match="found a folder"):
        methods.load("pix2pix", weights=str(tmp_path))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors: found no format entry"):
        methods.load("pix2pix", weights=str(tmp_path / "other.safetensors"))
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(InputError, match="no readable safetensors file"):
        methods.load("pix2pix", weights=str(tmp_path / "text.safetensors"))
    tensors = load_file(path)
    metadata = {"format": "sceneshift-pix2pix-1", "config": '{"width": 8, "levels": 2}', "about": "{}"}
    save_file({**tensors, "head.bias": torch.zeros(4)}, tmp_path / "shape.safetensors", metadata)
    with pytest.raises(InputError, match=r"'head.bias' is \(4,\), expected \(3,\)"):
        methods.load("pix2pix", weights=str(tmp_path / "shape.safetensors"))
    for columns, shape, reason in (({}, (32, 32), "no_target"), ({"target": picture(1)}, (8, 8), "sizes_differ")):
        with pytest.raises(BadSample) as error:
            objective.transform(
                "pairs", Inputs("k", np.zeros((*shape, 3), np.uint8), None, columns), np.random.default_rng(0)
            )
        assert error.value.reason == reason
    with pytest.raises(InputError, match=r"no parameter 'widht'.*'width'"):
        built(widht=3)
