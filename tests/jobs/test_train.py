"""`sceneshift train` on a toy objective: data from every source, resume, several workers, rejections."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from jobs.cli import app
from methods.errors import InputError
from methods.train import registry
from methods.train.checkpoint import saved_steps
from pipeline.quantity import measured
from pipeline.spec import SourceSpec
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Loader, Stream
from tests.support.datasets import encoded, picture, street_samples, write_tar

EXAMPLES = Path(__file__).resolve().parents[2] / "jobs" / "examples"


def folder_of(place: Path, count: int, size: tuple[int, int] = (24, 16)) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (place / f"{number:03d}.png").write_bytes(encoded(picture(number, size), "PNG"))
    return place


def tree(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "objective": {"name": "toy_colour", "params": {}},
        "data": {"a": {"uri": str(tmp_path / "in")}},
        "output": {"uri": str(tmp_path / "out")},
        "steps": 6,
        "ema": 0.9,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    for path, value in changes.items():
        *folders, last = path.split("__")
        node = spec
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = value
    return spec


def same(first: Path, second: Path) -> bool:
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_cut_short_ends_as_a_whole_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 5)
    validated = {"validation__data": {"a": {"uri": str(tmp_path / "in")}}, "validate_every": 3}
    train(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / "whole"), **validated)))
    asked = iter([False, False, True])
    spec = TrainSpec.parse(tree(tmp_path, **validated))
    first = train(spec, stop=lambda: next(asked))
    assert first.step == 3
    assert train(spec).started_at == 3
    assert same(tmp_path / "whole" / "model.safetensors", tmp_path / "out" / "model.safetensors")
    assert (tmp_path / "out" / "validation" / "step-00000006").is_dir()
    stored = json.loads((tmp_path / "out" / "_sceneshift" / "train.json").read_text())
    assert stored["fingerprint"] == spec.fingerprint


def test_every_epoch_shows_every_sample_once_and_positions_are_fixed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.training.streams.WINDOW", 8)
    for name in range(3):
        keys = [f"{name}-{i:02d}" for i in range(7 + name)]
        write_tar(tmp_path / "in" / f"{name}.tar", street_samples(keys))
    spec = SourceSpec(uri=str(tmp_path / "in"))
    stream = Stream(spec, seed=1)
    assert stream.size == 24
    walked = [next(stream.near(p)).key for p in range(72)]
    epochs = [walked[i : i + 24] for i in range(0, 72, 24)]
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])
    later = Stream(spec, seed=1)
    assert [next(later.near(p)).key for p in (70, 3, 41)] == [walked[p] for p in (70, 3, 41)]
    assert [next(Stream(spec, seed=2).near(p)).key for p in range(24)] != epochs[0]


@pytest.mark.parametrize("window", [6, 512])
def test_a_bad_picture_is_stood_in_for(tmp_path: Path, monkeypatch: Any, window: int) -> None:
    monkeypatch.setattr("pipeline.training.streams.WINDOW", window)
    folder_of(tmp_path / "in", 10)
    (tmp_path / "in" / "003.png").write_bytes(b"no picture")
    (tmp_path / "in" / "004.png").write_bytes(encoded(picture(1, (12, 12))[:4], "PNG"))
    objective = registry.build("toy_colour", {}, torch.device("cpu"), torch.float32, 4)
    stream = Stream(SourceSpec(uri=str(tmp_path / "in")), 0)
    seen = []
    for _ in range(2):
        loader = Loader(objective, {"a": stream}, 5, 0, torch.device("cpu"), 2)
        batches = [loader(step)["a"] for step in range(4)]
        loader.close()
        seen.append(torch.cat([batch["image"] for batch in batches]))  # type: ignore[arg-type]
        assert not {"003", "004"} & {key for batch in batches for key in batch["key"]}
    assert torch.equal(*seen)


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 3, (12, 9))
    with pytest.raises(InputError, match=r"none of a window of samples can be used; the first: .*needs 64x64"):
        train(TrainSpec.parse(tree(tmp_path, objective__params={"size": 64})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectve": 1}, "unknown key 'objectve': did you mean 'objective'"),
        ({"data__a__ur": "x"}, "unknown key 'data.a.ur': did you mean 'uri'"),
        ({"compute__wokers": 2}, "unknown key 'compute.wokers': did you mean 'workers'"),
        ({"objective__name": "toy_color"}, "unknown objective 'toy_color': did you mean 'toy_colour'"),
        ({"objective__params": {"sise": 1}}, "no parameter 'sise': did you mean 'size'"),
        ({"data": {"b": {"uri": "x"}}}, r"data names b, but objective 'toy_colour' draws from: a \(pictures\)"),
        ({"data__a__labels": {"uri": "coco.json"}}, "data.a.labels.uri: it is for jobs and for validation.metrics"),
        ({"precision": "float8"}, "precision: "),
        ({"ema": 1.5}, "ema: "),
        ({"steps": 0}, "steps: "),
        ({"compute__workers": [4, 1]}, r"compute.workers: .*least <= most, got \[4, 1\]"),
        ({"compute__cpus": 2}, "compute.cpus: it is for workers on Ray"),
        ({"compute__max_failures": 0}, "compute.max_failures: it is for workers on Ray"),
        ({"validation": {"count": 1, "variants": 2}}, "validation.variants: name under validation.metrics what"),
        ({"validation": {"count": 1, "direction": "lower"}}, "validation.direction: name under validation.best what"),
        (
            {"validation": {"count": 1, "method": {"name": "pix2pix", "weights": "x"}}},
            "validation.method: .*weights are those that are trained",
        ),
    ],
)
def test_wrong_specs_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TrainSpec.parse(tree(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_data_and_output_must_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same place"):
        TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / "in")))


def test_another_spec_may_not_go_on_in_the_same_output(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 3)
    train(TrainSpec.parse(tree(tmp_path, steps=2)))
    # a longer run is the same run
    assert train(TrainSpec.parse(tree(tmp_path, steps=3))).started_at == 2
    other = TrainSpec.parse(tree(tmp_path, steps=3, objective__params={"lr": 0.5}))
    with pytest.raises(InputError, match=r"another spec \(objective.params.lr was 0.05, is 0.5\)"):
        train(other)
    (tmp_path / "out" / "_sceneshift").joinpath("note.txt").write_text("x")
    assert train(other, fresh=True).started_at == 0
    assert saved_steps(tmp_path / "out") == [2, 3]


def test_a_run_begins_with_another_one_s_checkpoint(tmp_path: Path) -> None:
    """Stages on data of different sizes: with the same parameters they are one run that was never interrupted."""
    folder_of(tmp_path / "in", 5)
    train(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / "whole"))))
    train(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / "first"), steps=3)))
    second = tree(tmp_path, continue_from=str(tmp_path / "first"))
    assert train(TrainSpec.parse(second)).started_at == 3
    assert same(tmp_path / "whole" / "model.safetensors", tmp_path / "out" / "model.safetensors")
    # its pace is that of its own three steps of two pictures
    seconds = json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])["seconds"]
    tile = rf"<strong>{re.escape(measured(3 * 2 / seconds))}</strong><span>images/s, mean"
    assert re.search(tile, (tmp_path / "out" / "report.html").read_text())
    # it goes on by itself afterwards: the first one is not asked again
    (tmp_path / "first" / "checkpoints").rename(tmp_path / "gone")
    assert train(TrainSpec.parse({**second, "steps": 7})).started_at == 6
    assert json.loads((tmp_path / "out" / "_sceneshift" / "training.json").read_text())["began"] == 3


def test_nothing_to_begin_with_is_said(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 3)
    with pytest.raises(InputError, match=r"continue_from: .*: no checkpoint here"):
        train(TrainSpec.parse(tree(tmp_path, continue_from=str(tmp_path / "nothing"))))
    train(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / "first"), steps=2)))
    with pytest.raises(InputError, match="is at step 2, this run ends at 2: steps counts on from there"):
        train(TrainSpec.parse(tree(tmp_path, continue_from=str(tmp_path / "first"), steps=2)))
    # what is there is thrown away only for a run that can begin
    wrong = tree(tmp_path, continue_from=str(tmp_path / "nothing"), output__uri=str(tmp_path / "first"))
    with pytest.raises(InputError, match="no checkpoint here"):
        train(TrainSpec.parse(wrong), fresh=True)
    assert saved_steps(tmp_path / "first") == [2]
    with pytest.raises(InputError, match="continue_from is the output itself"):
        TrainSpec.parse(tree(tmp_path, continue_from=str(tmp_path / "out")))


def test_a_place_to_continue_from_is_the_same_for_workers_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert TrainSpec.parse(tree(tmp_path, continue_from="first")).continue_from == str(tmp_path / "first")
    with pytest.raises(InputError, match="continue_from is the output itself"):
        TrainSpec.parse(tree(tmp_path, continue_from="out"))
    monkeypatch.setenv("RUNS", "s3://models/runs")
    assert TrainSpec.parse(tree(tmp_path, continue_from="$RUNS/first/")).continue_from == "s3://models/runs/first"


def test_an_object_store_holds_all_of_it_and_resumes(tmp_path: Path) -> None:
    import fsspec

    folder_of(tmp_path / "in", 5)
    uri = f"memory://train-{tmp_path.name}"
    spec = TrainSpec.parse(tree(tmp_path, output__uri=uri))
    asked = iter([False, False, True])
    train(spec, stop=lambda: next(asked))
    assert train(spec).started_at == 3
    train(TrainSpec.parse(tree(tmp_path)))
    memory = fsspec.filesystem("memory")
    names = {name.partition(f"{tmp_path.name}/")[2] for name in memory.find(uri)}
    assert {"model.safetensors", "log.jsonl", "checkpoints/step-00000006.pt"} <= names
    assert "checkpoints/step-00000002.pt" not in names
    memory.get_file(f"{uri}/model.safetensors", str(tmp_path / "fetched.safetensors"))
    assert same(tmp_path / "fetched.safetensors", tmp_path / "out" / "model.safetensors")


def test_the_command_line(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tree(tmp_path, steps=100_000, checkpoint_every=100_000)))
    command = [sys.executable, "-m", "jobs", "train", str(path)]
    running = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (tmp_path / "out" / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=240)
    stopped = json.loads(out)
    assert (running.returncode, stopped["state"]) == (130, "stopped")
    assert saved_steps(tmp_path / "out") == [stopped["step"]]
    total = stopped["step"] + 2
    again = ["train", str(path), "--set", f"steps={total}"]
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 0, done.output
    assert f"step {total}/{total}" in done.stderr
    assert "Done" in done.stdout
    exported = CliRunner().invoke(app, [*again, "--export", str(tmp_path / "deep" / "w.safetensors")])
    assert exported.exit_code == 0, exported.output
    assert same(tmp_path / "deep" / "w.safetensors", tmp_path / "out" / "model.safetensors")
    wrong = CliRunner().invoke(app, [*again, "--set", "stepps=3"])
    assert wrong.exit_code == 2
    assert wrong.stderr.strip().splitlines() == [f"sceneshift: {path}: unknown key 'stepps': did you mean 'steps'?"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("train_*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_a_valid_spec(path: Path) -> None:
    spec = TrainSpec.load(path)
    assert spec.total_steps > 0
    assert spec.fingerprint == TrainSpec.parse(spec.as_tree()).fingerprint


def test_a_turbo_objective_trains_from_a_spec_and_its_weights_translate(tmp_path: Path) -> None:
    """The example's spec, made small: pictures in, three steps, weights out, a picture translated with them."""
    import methods
    from methods import Batch, Inputs

    folder_of(tmp_path / "in", 4, (80, 80))
    spec = TrainSpec.load(
        EXAMPLES / "train_street_edges.yaml",
        [
            f"data.pairs.uri={tmp_path / 'in'}",
            f"validation.data.pairs.uri={tmp_path / 'in'}",
            f"output.uri={tmp_path / 'out'}",
            "objective.params.image_prep=resize_72_randomcrop_64x64_hflip",
            "validation.count=2",
            "steps=2",
            "batch_size=1",
        ],
    )
    assert train(spec).step == 2
    assert (tmp_path / "out" / "validation" / "step-00000002" / "source_output_truth.png").exists()
    method = methods.load("pix2pix_turbo", weights=str(tmp_path / "out" / "model.safetensors"), input="canny")
    x = method.prepare(Inputs("k", picture(3, (64, 64))))
    assert method.translate(Batch(x[None], [1])).shape == (1, 3, 64, 64)
