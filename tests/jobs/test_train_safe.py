"""A training is safe to start: what can be refused is refused before the output is touched; nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import methods
from jobs.cli import app
from jobs.progress import training_shown
from jobs.training import _asked_to_stop
from methods.errors import InputError
from methods.train.checkpoint import Checkpoint, save_checkpoint, saved_steps
from methods.train.divergence import Diverged, DivergenceGuard
from methods.train.loop import TrainingProgress
from pipeline.errors import JobFailed
from pipeline.paths import LOCK_FILE, TRAIN_FILE
from pipeline.spec import SourceSpec
from pipeline.storage import Store
from pipeline.training import place
from pipeline.training.held_out import hold_out
from pipeline.training.place import run_training
from pipeline.training.run import look, train
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Stream
from tests.jobs.test_train import EXAMPLES, folder_of, tree
from tests.support.datasets import write_tars

# weights that are not there
ASYRP = {
    "objective": {
        "name": "asyrp_delta",
        "params": {"unet": "missing.safetensors", "source_text": "face", "target_text": "smile", "t_edit": 500},
    },
    "data": {"images": {"uri": "IN"}},
    "ema": None,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"a": {"uri": "IN", "image": "png.missing", "format": "webdataset"}}}, "IN"),
        ({"objective__params": {"size": 640}}, "none of a window of samples can be used"),
        (
            {"objective__params": {"size": 12}, "validation": {"data": {"a": {"uri": "SMALL"}}}},
            "not one held-out sample can be used",
        ),
        ({"augment": {"crop": 100}}, "fewer than augment.crop 100"),
        ({"validation": {"count": 6}}, "validation.count holds out 6: none are left"),
        ({"continue_from": "ELSEWHERE"}, "no checkpoint here"),
        ({"continue_from": "ANOTHER"}, "a checkpoint of objective 'piti', expected 'toy_colour'"),
        (ASYRP, "missing.safetensors"),
    ],
)
def test_a_refused_start_leaves_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder_of(tmp_path / "in", 6)
    folder_of(tmp_path / "small", 2, (10, 10))
    save_checkpoint(tmp_path / "another", Checkpoint(4, "piti", {}, {}))
    places = {name: str(tmp_path / name.lower()) for name in ("IN", "SMALL", "ELSEWHERE", "ANOTHER")}

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


@pytest.mark.parametrize("fresh", [False, True])
def test_an_output_in_which_nothing_can_be_written_is_refused_before_data_and_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    monkeypatch.setattr("methods.train.registry.build", lambda *args: pytest.fail("networks were built"))
    # a source that is not there would be found out by whatever looks at the data
    tree_of = tree(tmp_path, output={"uri": "/proc/nothing/out"}, data={"a": {"uri": str(tmp_path / "nowhere")}})
    for compute in ({"gpus": 0}, {"gpus": 0, "workers": 2}):
        with pytest.raises(InputError, match=r"^/proc: no file can be made here; choose another place$"):
            run_training(TrainSpec.parse({**tree_of, "compute": compute}), fresh=fresh)


def test_a_finished_training_may_lie_where_it_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "in", 4)
    spec = TrainSpec.parse(tree(tmp_path))
    run_training(spec)

    def refused(store: Store) -> None:
        raise InputError("no permission")

    monkeypatch.setattr(place, "try_to_write", refused)
    assert run_training(spec).step == 6
    with pytest.raises(InputError, match="no permission"):
        run_training(spec, fresh=True)


def of_bytes(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-400]), r"00000002\.pt: cannot be read .*the one before"),
        (lambda path: save_checkpoint(path.parents[1], Checkpoint(2, "piti", {}, {})), "of objective 'piti'"),
        (lambda path: save_checkpoint(path.parents[1], Checkpoint(2, "toy_colour", {}, {})), "does not fit"),
    ],
    ids=["cut short", "of another", "empty"],
)
def test_a_damaged_checkpoint_is_refused_before_the_output_is_touched(
    tmp_path: Path, damaged: Callable[[Path], object], message: str
) -> None:
    folder_of(tmp_path / "in", 4)
    train(TrainSpec.parse(tree(tmp_path, steps=2, checkpoint_every=1)))
    damaged(tmp_path / "out" / "checkpoints" / "step-00000002.pt")
    before = of_bytes(tmp_path / "out")
    # steps and keep_checkpoints may change on a resume: train.json would say so
    spec = TrainSpec.parse(tree(tmp_path, keep_checkpoints=3))
    with pytest.raises(InputError, match=message) as raised:
        train(spec)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=message):
        look(spec, torch.device("cpu"))
    assert of_bytes(tmp_path / "out") == before
    # as the message says
    (tmp_path / "out" / "checkpoints" / "step-00000002.pt").unlink()
    assert train(spec).started_at == 1


def test_a_line_that_a_killed_run_left_half_written_is_no_curve(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    train(TrainSpec.parse(tree(tmp_path, steps=2)))
    log = tmp_path / "out" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 2, "seco')
    assert train(TrainSpec.parse(tree(tmp_path))).step == 6
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


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


def test_progress_says_losses_rate_pace_memory_and_what_is_left() -> None:
    losses = {"l1": 0.5, "grad_norm.generator": 2.0}
    shown = training_shown(TrainingProgress(30, 90, losses, 10.0, 3.0, 12.0, 1e-4, 3_200_000_000))
    assert (shown.done, shown.total) == (30, 90)
    assert shown.text == "step 30/90, l1 0.5, rate 0.0001, 12 images/s, 3.2 GB, 20.0 s left"


def test_a_batch_larger_than_the_data_is_said_at_the_start(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tree(tmp_path, steps=1, batch_size=4, validation={"count": 1})))
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 0, result.output
    assert "has 3 samples to train on, fewer than batch_size 4" in result.stderr


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


def distillation(tmp_path: Path) -> dict[str, Any]:
    """Of the pairs of a run that is made here, with more steps than anybody waits for."""
    from pipeline.run.driver import run_job
    from tests.support.jobs import job

    write_tars(tmp_path / "in", 1, 8)
    run_job(job(tmp_path / "in", tmp_path / "teacher", output__pairs=True), local=True)
    return {
        "teacher": {"uri": str(tmp_path / "teacher")},
        "student": {"objective": "pix2pix", "params": {"width": 8, "levels": 2, "discriminator_width": 8}},
        "output": {"uri": str(tmp_path / "student")},
        "held_out": 2,
        "steps": 100_000,
        "batch_size": 2,
        "log_every": 1,
        "metrics": ["psnr"],
    }


def started(command: list[str], sign: Path) -> subprocess.Popen[str]:
    """A command of ours that has come so far that a file is there."""
    whole = [sys.executable, "-m", "jobs", *command, "--json"]
    running = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not sign.exists() and running.poll() is None:
            time.sleep(0.1)
    except BaseException:
        # the test's own time is over
        running.terminate()
        raise
    return running


@pytest.mark.parametrize(
    ("workers", "number"),
    [
        ([], signal.SIGINT),
        # two workers on a Ray of their own, whose handler of SIGTERM would end them without a word
        pytest.param(["--workers", "2"], signal.SIGTERM, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
    ids=["one process", "two workers"],
)
def test_distil_writes_a_checkpoint_when_asked_to_stop_and_goes_on(
    tmp_path: Path, workers: list[str], number: int
) -> None:
    path, spec = tmp_path / "distill.yaml", distillation(tmp_path)
    path.write_text(yaml.safe_dump(spec))
    running = started(["distill", str(path), *workers], tmp_path / "student" / "log.jsonl")
    running.send_signal(number)
    out, err = running.communicate(timeout=60 if not workers else 120)
    assert running.returncode == 130, err
    stopped = json.loads(out)
    assert stopped["state"] == "stopped"
    assert (tmp_path / "student" / "checkpoints" / f"step-{stopped['step']:08d}.pt").exists()
    assert "run it again to go on" in err
    path.write_text(yaml.safe_dump({**spec, "steps": stopped["step"] + 1}))
    result = CliRunner().invoke(app, ["distill", str(path), *workers, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["pictures"] == 2
    assert methods.load("pix2pix", weights=report["method"]["weights"]) is not None
    rows = [json.loads(line) for line in (tmp_path / "student" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, stopped["step"] + 2))
    ended = json.loads((tmp_path / "student" / "_sceneshift" / "training.json").read_text())
    assert (ended["ended"], ended["workers"]) == ("steps", 2 if workers else 1)


def test_a_second_ctrl_c_ends_a_training_in_the_middle_of_a_step(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tree(tmp_path, objective__params={"sleeps": 600})))
    running = started(["train", str(path)], tmp_path / "out" / TRAIN_FILE)
    assert running.stderr is not None
    running.send_signal(signal.SIGINT)
    assert "writing a checkpoint, then stopping" in next(line for line in running.stderr if "note:" not in line)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("sceneshift: stopped by Ctrl-C")
    assert "Traceback" not in err
    assert saved_steps(tmp_path / "out") == []
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_a_second_signal_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with _asked_to_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert "writing a checkpoint, then stopping" in capsys.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is before
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_workers_on_ray_survive_the_loss_of_one_and_stop_together(tmp_path: Path, ray_cluster: None) -> None:
    folder_of(tmp_path / "in", 6)
    order = tmp_path / "order"
    # ten steps after a checkpoint one of the two is lost
    order.write_text("60")
    changes = {"objective__params": {"dies_by": str(order)}, "compute": {"workers": [1, 2], "cpus": 0.5}}
    spec = TrainSpec.parse(tree(tmp_path, steps=1_000_000, checkpoint_every=50, log_every=10, **changes))
    seen: list[TrainingProgress] = []
    stopped = run_training(spec, watch=seen.append, stop=lambda: any(progress.step > 60 for progress in seen))
    assert not order.exists()
    # the others, or both again, go on from the checkpoint
    assert stopped.started_at == 50
    assert 60 < stopped.step < 1_000_000
    assert np.isfinite(seen[-1].losses["mse"])
    assert (tmp_path / "out" / "checkpoints" / f"step-{stopped.step:08d}.pt").exists()
    assert json.loads((tmp_path / "out" / "_sceneshift" / "training.json").read_text())["ended"] == "stopped"


def on_ray(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return tree(tmp_path, compute={"workers": 2, "cpus": 0.5}, **changes)


def test_wrong_input_on_ray_leaves_the_output_as_it_was(tmp_path: Path, ray_cluster: None) -> None:
    folder_of(tmp_path / "in", 6)
    run_training(TrainSpec.parse(tree(tmp_path, steps=1)))
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(on_ray(tmp_path, validation={"count": 1, "best": "msee"}, batch_size=7)))
    refused = CliRunner().invoke(app, ["train", str(path), "--fresh"])
    assert refused.exit_code == 2, refused.output
    wrong = "sceneshift: validation.best: no value 'msee' in the validation, it has: mse"
    assert refused.stderr.splitlines()[-1] == wrong
    # what a worker warns of is said here
    assert "has 5 samples to train on, fewer than batch_size 7" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_what_a_worker_says_is_what_is_said_and_tried_again_where_that_may_help() -> None:
    from pipeline.training.ray_failures import NoSecondTry, as_ray_sees_it, as_we_see_it

    ran_away = JobFailed("loss 'l1' became nan (why: logs)")
    ran_away.__cause__ = JobFailed("loss 'l1' became nan")
    ran_away.__cause__.__cause__ = Diverged("loss 'l1' became nan")
    bug = JobFailed("KeyError: 'image', raised at x.py:1 step (why: logs)")
    for error, final in ((InputError("data.a: nothing there"), True), (ran_away, True), (bug, False)):
        seen = as_ray_sees_it(error)
        said = as_we_see_it(RuntimeError(f"Training failed due to worker errors:\n{seen}\nmore"), "logs")
        assert (type(said), str(said)) == (type(error), str(error))
        # Ray's own end of it: other workers fail for want of the first one
        with pytest.raises(RuntimeError) if final else contextlib.nullcontext() as raised:
            NoSecondTry().after_exception(None, {0: RuntimeError("Connection closed by peer"), 1: seen})
        if raised is not None:
            assert str(raised.value) == str(seen)
    lost = as_we_see_it(RuntimeError("The actor died\nbecause"), "logs")
    assert (type(lost), str(lost)) == (JobFailed, "training failed: The actor died (why: logs)")


@pytest.mark.long
def test_losses_that_run_away_on_ray_are_not_tried_again(tmp_path: Path, ray_cluster: None) -> None:
    folder_of(tmp_path / "in", 6)
    seen: list[int] = []
    spec = TrainSpec.parse(on_ray(tmp_path, objective__params={"poison": 5}, validation={"count": 1, "best": "mse"}))
    with pytest.raises(JobFailed, match=r"^loss 'mse' became nan at step 6; .*last good checkpoint is of step 4"):
        run_training(spec, watch=lambda progress: seen.append(progress.step))
    # another group of workers would have begun with step 5, three times
    assert seen == sorted(set(seen))
    # what was looked at before is the first validation
    rows = (tmp_path / "out" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [0]


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
    wrong = ["--set", "validation={count: 1, best: msee}"]
    refused = CliRunner().invoke(app, ["train", str(path), "--dry-run", *wrong])
    assert refused.exit_code == 2
    assert "validation.best: no value 'msee'" in refused.stderr
    assert not (tmp_path / "out").exists()
