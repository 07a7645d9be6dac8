"""A training is safe to start: what can be refused is refused before the output is touched; nothing is done twice."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app
from methods.errors import InputError
from methods.train.divergence import DivergenceGuard
from methods.train.loop import Progress
from pipeline.errors import JobFailed
from pipeline.spec import SourceSpec
from pipeline.training.held_out import hold_out
from pipeline.training.place import run_training
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Stream
from tests.jobs.test_train import EXAMPLES, folder_of, tree
from tests.support.datasets import write_tars


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"a": {"uri": "IN", "image": "png.missing", "format": "webdataset"}}}, "IN"),
        ({"objective__params": {"size": 640}, "validation": {"count": 1}}, "not one held-out sample can be used"),
        ({"validation": {"count": 6}}, "validation.count holds out 6: none are left"),
        ({"continue_from": "ELSEWHERE"}, "no checkpoint here"),
    ],
)
def test_a_refused_start_leaves_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder_of(tmp_path / "in", 6)
    places = {"IN": str(tmp_path / "in"), "ELSEWHERE": str(tmp_path / "elsewhere")}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(each) for key, each in value.items()}
        return places.get(value, value) if isinstance(value, str) else value

    with pytest.raises(InputError, match=places.get(message, message)):
        train(TrainSpec.parse(tree(tmp_path, **placed(changes))))
    assert not (tmp_path / "out").exists()
    # the corrected spec is not "another spec"
    assert train(TrainSpec.parse(tree(tmp_path))).step == 6


def test_continue_from_other_widths_names_tensor_shapes_and_parameter(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 1, 4)
    # every picture is its own target
    pairs = {"uri": str(tmp_path / "in"), "image": "jpg", "target": "jpg"}
    params = {"width": 8, "levels": 2, "discriminator_width": 8}
    spec = {"objective": {"name": "pix2pix", "params": params}, "data": {"pairs": pairs}}
    first = TrainSpec.parse({**spec, "output": {"uri": str(tmp_path / "one")}, "steps": 1, "batch_size": 1})
    train(first)
    wider = {**spec, "objective": {"name": "pix2pix", "params": {**params, "width": 16}}}
    second = {**wider, "output": {"uri": str(tmp_path / "two")}, "continue_from": str(tmp_path / "one"), "steps": 2}
    with pytest.raises(InputError, match=r"tensor \S+ is \([\d, ]+\) there and \([\d, ]+\) here.*width was 8, is 16"):
        train(TrainSpec.parse({**second, "batch_size": 1}))
    assert not (tmp_path / "two").exists()


def test_a_finished_training_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "in", 4)
    spec = TrainSpec.parse(tree(tmp_path))
    run_training(spec)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    monkeypatch.setattr("methods.train.registry.build", lambda *args: pytest.fail("networks were built"))
    again = run_training(spec)
    assert (again.step, again.started_at) == (6, 6)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_equal_tensors_are_equal_bytes(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    for name in ("one", "two"):
        train(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / name))))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


def test_validation_samples_are_held_out_of_training_by_key(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 12)
    stream = Stream(SourceSpec(uri=str(tmp_path / "in")), 3, hold_out_count=4)
    trained_on = {sample.key for position in range(36) for sample in [next(stream.near(position))]}
    kept = {sample.key for sample in stream.first() if sample.key in stream.held_out}
    assert len(kept) == 4
    assert trained_on == {sample.key for sample in stream.first()} - kept
    # another order of another worker holds out the same ones
    assert Stream(SourceSpec(uri=str(tmp_path / "in")), 9, hold_out_count=4).held_out == stream.held_out
    spec = TrainSpec.parse(tree(tmp_path, validation__count=4, validate_every=3))
    train(spec)
    rows = [json.loads(line) for line in (tmp_path / "out" / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert spec.fingerprint != TrainSpec.parse(tree(tmp_path)).fingerprint


def test_a_large_set_is_held_out_by_share_without_being_read() -> None:
    rule = hold_out(100, 10_000, lambda: pytest.fail("keys were read"))
    held = sum(f"key-{number}" in rule for number in range(10_000))
    assert 60 < held < 140


def test_validating_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to validate on"):
        TrainSpec.parse(tree(tmp_path, validate_every=3))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("train_*.yaml")), ids=lambda path: path.stem)
def test_every_example_that_validates_has_something_to_validate_on(path: Path) -> None:
    spec = TrainSpec.load(path)
    asked = yaml.safe_load(path.read_text())
    assert bool(spec.validation.samples) == ("validation" in asked or "validate_every" in asked)


def test_losses_that_run_away_end_the_training_and_keep_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    with pytest.raises(JobFailed, match=r"times its median .*the last good checkpoint is of step"):
        train(TrainSpec.parse(tree(tmp_path, steps=400, objective__params={"explode": 20})))
    newest = max((tmp_path / "out" / "checkpoints").glob("*.pt"))
    assert int(newest.stem.removeprefix("step-")) <= 20


def test_the_guard_lets_noisy_and_growing_losses_pass(tmp_path: Path) -> None:
    guard = DivergenceGuard(tmp_path)
    for step in range(2000):
        guard.check({"gan": 40 * math.sin(step), "l1": 1 + step / 100, "late": 0.0 if step < 500 else 90.0}, step)
    assert not guard.suspicious


def test_seconds_go_on_after_a_resume(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    asked = iter([False, False, True])
    spec = TrainSpec.parse(tree(tmp_path))
    train(spec, stop=lambda: next(asked))
    log = tmp_path / "out" / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[-1]["seconds"] = 100.0
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(spec)
    assert json.loads(log.read_text().splitlines()[-1])["seconds"] >= 100.0


def test_distil_writes_a_checkpoint_on_ctrl_c_and_goes_on(tmp_path: Path) -> None:
    from pipeline.run.driver import run_job
    from tests.support import datasets
    from tests.support.jobs import job

    datasets.write_tars(tmp_path / "in", files=1, samples=8)
    run_job(job(tmp_path / "in", tmp_path / "teacher", output__pairs=True), local=True)
    spec = {
        "teacher": {"uri": str(tmp_path / "teacher")},
        "student": {"objective": "pix2pix", "params": {"width": 8, "levels": 2, "discriminator_width": 8}},
        "output": {"uri": str(tmp_path / "student")},
        "held_out": 2,
        "steps": 100_000,
        "batch_size": 2,
        "log_every": 1,
        "metrics": ["psnr"],
    }
    path = tmp_path / "distill.yaml"
    path.write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "jobs", "distill", str(path), "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + 120
    while not (tmp_path / "student" / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    stopped = json.loads(out)
    assert stopped["state"] == "stopped"
    assert (tmp_path / "student" / "checkpoints" / f"step-{stopped['step']:08d}.pt").exists()
    assert "run it again to go on" in err
    path.write_text(yaml.safe_dump({**spec, "steps": stopped["step"] + 1}))
    result = CliRunner().invoke(app, ["distill", str(path)])
    assert result.exit_code == 0, result.output
    assert "2 held-out pictures" in result.stdout


def test_workers_on_ray_survive_the_loss_of_one_and_stop_together(tmp_path: Path, ray_cluster: None) -> None:
    folder_of(tmp_path / "in", 6)
    order = tmp_path / "order"
    # ten steps after a checkpoint one of the two is lost
    order.write_text("60")
    changes = {"objective__params": {"dies_by": str(order)}, "compute": {"workers": [1, 2], "cpus": 0.5}}
    spec = TrainSpec.parse(tree(tmp_path, steps=1_000_000, checkpoint_every=50, log_every=10, **changes))
    seen: list[Progress] = []
    stopped = run_training(spec, watch=seen.append, stop=lambda: any(progress.step > 60 for progress in seen))
    assert not order.exists()
    # the others, or both again, go on from the checkpoint
    assert stopped.started_at == 50
    assert 60 < stopped.step < 1_000_000
    assert np.isfinite(seen[-1].losses["mse"])
    assert (tmp_path / "out" / "checkpoints" / f"step-{stopped.step:08d}.pt").exists()
    assert json.loads((tmp_path / "out" / "_sceneshift" / "training.json").read_text())["ended"] == "stopped"


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 6)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tree(tmp_path)))
    result = CliRunner().invoke(app, ["train", str(path), "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # two 1x1 convolutions, 3 to 4 and 4 to 3 channels, with biases
    assert found["parameters"] == {"toy": 31}
    assert found["samples"] == {"a": 6}
    assert found["hours"] == pytest.approx(found["seconds_per_step"] * 6 / 3600)
    assert found["memory"] > 1 << 20
    assert not (tmp_path / "out").exists()
