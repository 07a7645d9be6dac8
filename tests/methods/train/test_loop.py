"""The training loop on a toy objective: resume to the bit, averaging, checkpoints, logs, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from methods.errors import InputError
from methods.train import registry
from methods.train.checkpoint import checkpoint_path, load_checkpoint, saved_steps
from methods.train.divergence import Diverged, DivergenceGuard
from methods.train.loop import FitConfig, TrainingProgress, fit
from methods.train.objective import Objective, Streams, Validation
from methods.train.recipe import Recipe


def build(**params: object) -> Objective:
    torch.manual_seed(3)
    return registry.build("toy_colour", params, torch.device("cpu"), torch.float32, 10)


def batches(step: int) -> Streams:
    return {"a": {"image": torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))}}


def config(folder: Path, **changes: object) -> FitConfig:
    held_out = {"a": [{"image": torch.full((3, 8, 8), 0.25), "key": "k"}]}
    return FitConfig(
        folder,
        **{"steps": 10, "checkpoint_every": 4, "validate_every": 5, "log_every": 2, "validation": held_out}
        | {"recipe": Recipe(ema=0.9)}
        | changes,  # type: ignore[arg-type]
    )


def same(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = fit(build(), batches, config(tmp_path / "whole"))
    # killed in iteration 7: checkpoint 4 is the last, so 5 and 6 are done anew
    objective = build()

    def until_killed(step: int) -> Streams:
        if step == 6:
            raise KeyboardInterrupt
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        fit(objective, until_killed, config(tmp_path / "parts"))
    torch.manual_seed(999)
    resumed = fit(build(), batches, config(tmp_path / "parts"))
    assert (whole.started_at, resumed.started_at, resumed.step) == (0, 4, 10)
    assert whole.weights is not None
    assert resumed.weights is not None
    same(whole.weights, resumed.weights)
    first, second = (load_checkpoint(checkpoint_path(tmp_path / n, 10), "toy_colour") for n in ("whole", "parts"))
    for name, value in first.state["network"].items():
        assert torch.equal(value, second.state["network"][name])
    logs = [(tmp_path / n / "log.jsonl").read_text().splitlines() for n in ("whole", "parts")]
    losses = [[(e["step"], e["mse"]) for e in map(json.loads, log)] for log in logs]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == [2, 4, 6, 8, 10]


def test_stop_writes_a_checkpoint_and_a_later_call_goes_on(tmp_path: Path) -> None:
    whole = fit(build(), batches, config(tmp_path / "whole"))
    calls = iter([False, False, True])
    first = fit(build(), batches, config(tmp_path / "parts"), stop=lambda: next(calls))
    assert (first.step, first.weights) == (3, None)
    assert saved_steps(tmp_path / "parts") == [3]
    second = fit(build(), batches, config(tmp_path / "parts"))
    assert second.weights is not None
    assert whole.weights is not None
    same(second.weights, whole.weights)


def test_a_stop_on_suspicious_losses_names_the_checkpoint_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False] * 6 + [True])

    def stop() -> bool:
        # the checkpoint of step 5 is written; what comes later may be on its way to run away
        monkeypatch.setattr(DivergenceGuard, "suspicious", len(saved_steps(tmp_path)) > 0)
        return next(asked)

    stopped = fit(build(), batches, config(tmp_path, steps=20, checkpoint_every=5), stop=stop)
    assert (stopped.step, stopped.ended) == (5, "stopped")
    assert saved_steps(tmp_path) == [5]
    monkeypatch.undo()
    assert fit(build(), batches, config(tmp_path, steps=20, checkpoint_every=5)).started_at == 5


def test_the_average_follows_its_formula(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    objective = build()
    weight = next(objective.networks()["toy"].parameters())
    seen.append(weight.detach().clone())

    def watch(progress: TrainingProgress) -> None:
        seen.append(weight.detach().clone())

    fit(objective, batches, config(tmp_path, steps=4, log_every=1), watch=watch)
    expected = seen[0]
    for step, value in enumerate(seen[1:], start=1):
        expected = expected.lerp(value, 1 - min(0.9, (1 + step) / (10 + step)))
    exported = load_file(tmp_path / "model.safetensors")["0.weight"]
    torch.testing.assert_close(exported, expected)
    assert not torch.equal(exported, seen[-1])
    # validation borrowed the average and gave the weights back
    assert torch.equal(weight, seen[-1])


def test_what_a_run_leaves(tmp_path: Path) -> None:
    published: list[Path] = []
    reports: list[TrainingProgress] = []
    fit(build(), batches, config(tmp_path), published=published.append, watch=reports.append)
    assert saved_steps(tmp_path) == [8, 10]
    picture = np.asarray(Image.open(tmp_path / "validation" / "step-00000005" / "mirror_first.png"))
    assert picture.shape == (8, 16, 3)
    assert [e["step"] for e in map(json.loads, (tmp_path / "validation.jsonl").read_text().splitlines())] == [5, 10]
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert {"model.safetensors", "log.jsonl", "mirror_first.png"} <= {path.name for path in published}
    assert [r.step for r in reports] == [2, 4, 6, 8, 10]
    assert {line["rate"] for line in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())} == {0.05}
    assert reports[-1].losses["mse"] < reports[0].losses["mse"]
    assert not list(tmp_path.rglob(".*"))


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    fit(build(), batches, config(tmp_path))

    def none(step: int) -> Streams:
        raise AssertionError("no batch is needed")

    assert fit(build(), none, config(tmp_path)).started_at == 10


def test_divergence_names_loss_step_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"'mse' became nan at step 6; the last good checkpoint is of step 4"):
        fit(build(poison=5), batches, config(tmp_path))
    assert saved_steps(tmp_path) == [4]


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    fit(build(), batches, config(tmp_path, steps=4))
    checkpoint_path(tmp_path, 4).write_bytes(content)
    with pytest.raises(InputError, match=r"step-00000004\.pt: .*expected a training checkpoint"):
        fit(build(), batches, config(tmp_path))


def test_a_validation_that_fails_leaves_no_weights_behind(tmp_path: Path) -> None:
    seen: list[Path] = []

    def evaluate(weights: Path) -> Validation:
        assert weights.exists()
        seen.append(weights)
        raise InputError("no weights of mine")

    with pytest.raises(InputError, match="no weights of mine"):
        fit(build(), batches, config(tmp_path, evaluate=evaluate))
    assert len(seen) == 1
    assert not [path for path in tmp_path.rglob("*") if "candidate" in path.name]


def test_another_objectives_checkpoint_is_refused(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 4)
    path.parent.mkdir()
    tree = {"format": "sceneshift.train/1", "step": 4, "objective": "piti", "state": {}, "averaged": {}}
    torch.save(tree, path)
    with pytest.raises(InputError, match="a checkpoint of objective 'piti', expected 'toy_colour'"):
        fit(build(), batches, config(tmp_path))
    torch.save({"something": 1}, path)
    with pytest.raises(InputError, match="expected a training checkpoint of format"):
        fit(build(), batches, config(tmp_path))


def test_names_are_checked() -> None:
    with pytest.raises(InputError, match="unknown objective 'toy_color': did you mean 'toy_colour'"):
        registry.info("toy_color")
    with pytest.raises(InputError, match="objective 'toy_colour' has no parameter 'siz': did you mean 'size'"):
        registry.resolve("toy_colour", {"siz": 3})
    with pytest.raises(InputError, match=r"objective.params.size: .*valid integer"):
        registry.resolve("toy_colour", {"size": "big"})
