"""`sceneshift distill` from the pairs of a run to a method checkpoint and its comparison."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import methods
from jobs.cli import app
from methods.errors import InputError
from pipeline.run.driver import run_job
from pipeline.training.distillation import DistillSpec, StudentSpec, open_teacher, training_spec
from pipeline.training.run import look
from tests.support import datasets
from tests.support.jobs import job


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the method that inverts pictures, with pairs, in shards of four."""
    place = tmp_path_factory.mktemp("teacher")
    datasets.write_tars(place / "in", files=2, samples=8)
    run_job(job(place / "in", place / "out", output__pairs=True, output__shard_size=4), local=True)
    return place / "out"


def written(place: Path, teacher: Path, **changes: Any) -> Path:
    tree: dict[str, Any] = {
        "teacher": {"uri": str(teacher)},
        "student": {
            "objective": "pix2pix",
            "params": {"width": 8, "levels": 2, "discriminator_width": 8, "lr": 0.002, "lambda_gan": 0},
        },
        "output": {"uri": str(place / "student")},
        "held_out": 4,
        "steps": 80,
        "batch_size": 4,
        "ema": None,
        "metrics": ["psnr", "ssim"],
        **changes,
    }
    path = place / "distill.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_from_pairs_to_a_checkpoint_that_agrees(teacher: Path, tmp_path: Path) -> None:
    spec = written(tmp_path, teacher)
    result = CliRunner().invoke(app, ["distill", str(spec), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["teacher"] == "invert"
    assert report["pictures"] == 4
    assert report["agreement"]["psnr"] > report["untouched"]["psnr"] + 5
    assert report["agreement"]["ssim"] > report["untouched"]["ssim"]
    low, high = report["agreement_interval"]["psnr"]
    assert low < report["agreement"]["psnr"] < high
    assert report["student_parameters"] > 1000
    card = (tmp_path / "student" / "README.md").read_text()
    assert "| student: pix2pix |" in card
    assert "| doing nothing |" in card
    assert "Comparison" in (tmp_path / "student" / "report.html").read_text()
    assert report["speedup"] == pytest.approx(report["teacher_seconds"] / report["student_seconds"])
    # the block can be pasted into a job; what travels with the output says nothing of this machine
    block = report["method"]
    assert methods.load(block["name"], weights=block["weights"]) is not None
    kept = json.loads((tmp_path / "student" / "distill.json").read_text())
    assert kept == report | {"method": block | {"weights": "student/model.safetensors"}}
    again = CliRunner().invoke(app, ["distill", str(spec)])
    assert again.exit_code == 0, again.output
    assert "4 held-out pictures" in again.stdout


def test_held_out_pairs_are_not_trained_on(teacher: Path, tmp_path: Path) -> None:
    from pipeline.training.streams import Stream

    spec = DistillSpec.load(written(tmp_path, teacher, held_out=5))
    store, _ = open_teacher(spec)
    training = training_spec(spec, store)
    assert training.data["pairs"].image == "source_image"
    assert training.data["pairs"].target == "image"
    stream = Stream(training.data["pairs"], 0, training.validation.samples)
    assert stream.size == 16
    kept = {sample.key for sample in stream.kept(100)}
    assert len(kept) == 5
    assert not kept & {next(stream.near(position)).key for position in range(32)}
    student = StudentSpec(objective="pix2pix_turbo", params={"networks": "mini"})
    turbo = training_spec(spec.model_copy(update={"student": student}), store)
    assert turbo.objective.name == "pix2pix_turbo"
    assert turbo.data == training.data
    both = {"caption_a": "a", "caption_b": "b", "joint": True, "lambda_rec": 1}
    cycle = training_spec(
        spec.model_copy(update={"student": StudentSpec(objective="cyclegan_turbo", params=both)}), store
    )
    assert (cycle.data["a"].image, cycle.data["a"].target) == ("source_image", "image")
    assert (cycle.data["b"].image, cycle.data["b"].target) == ("image", "source_image")
    piti = training_spec(spec.model_copy(update={"student": StudentSpec(objective="piti_base")}), store)
    assert (piti.data["pairs"].image, piti.data["pairs"].masks) == ("image", ["source_image"])
    assert piti.objective.params["column"] == "source_image"


def test_a_distillation_goes_on_from_another_and_keeps_checkpoints(teacher: Path, tmp_path: Path) -> None:
    from methods.train.checkpoint import saved_steps

    short = {"steps": 4, "checkpoint_every": 1, "keep_checkpoints": 3, "metrics": ["psnr"]}
    first = CliRunner().invoke(app, ["distill", str(written(tmp_path, teacher, **short))])
    assert first.exit_code == 0, first.output
    assert saved_steps(tmp_path / "student") == [2, 3, 4]
    (tmp_path / "second").mkdir()
    more = {**short, "steps": 5, "continue_from": str(tmp_path / "student")}
    going_on = ["distill", str(written(tmp_path / "second", teacher, **more)), "--json"]
    dry = CliRunner().invoke(app, [*going_on, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.stdout)["samples"] == {"pairs": 16}
    assert not (tmp_path / "second" / "student").exists()
    second = CliRunner().invoke(app, going_on)
    assert second.exit_code == 0, second.output
    assert saved_steps(tmp_path / "second" / "student") == [4, 5]
    exported = CliRunner().invoke(app, [*going_on, "--export", str(tmp_path / "w.safetensors")])
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "w.safetensors").read_bytes() == (
        tmp_path / "second" / "student" / "model.safetensors"
    ).read_bytes()


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with pairs, two variants per picture, and a metric."""
    place = tmp_path_factory.mktemp("varied")
    datasets.write_tars(place / "in", files=1, samples=6)
    run_job(job(place / "in", place / "out", output__pairs=True, variants=2, metrics=["psnr"]), local=True)
    return place / "out"


def test_variants_are_more_pairs_and_stay_together(varied: Path, tmp_path: Path) -> None:
    from pipeline.training.streams import Stream

    spec = DistillSpec.load(written(tmp_path, varied, held_out=2))
    training = training_spec(spec, open_teacher(spec)[0])
    stream = Stream(training.data["pairs"], 0, 2)
    assert stream.size == 12
    kept = {sample.key for sample in stream.kept(100)}
    assert len(kept) == 4
    assert {f"{key.removesuffix('_v0')}_v1" for key in kept if key.endswith("_v0")} < kept
    trained_on = {next(stream.near(position)).key for position in range(48)}
    assert len(trained_on) == 8
    assert not kept & trained_on


def test_intervals_are_of_pictures_not_of_their_variants() -> None:
    from pipeline.training.comparison import bootstrap

    values = np.random.default_rng(1).normal(3, 1, 40)
    low, high = bootstrap(values, [str(n) for n in range(40)])
    # the normal interval of the mean of 40 values with deviation 1
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 40**0.5, rel=0.15)
    # each value four times over says no more
    repeated = bootstrap(np.repeat(values, 4), [str(n) for n in np.repeat(np.arange(40), 4)])
    assert repeated[1] - repeated[0] == pytest.approx(high - low, rel=0.1)


def test_where_leaves_pairs_out(varied: Path, tmp_path: Path) -> None:
    from pipeline.training.streams import Stream
    from tests.support.jobs import index_rows

    rows = index_rows(varied)
    values = sorted(row["metric.psnr"] for row in rows)
    middle = (values[5] + values[6]) / 2
    chosen = {f"{row['key']}_v{row['variant']}" for row in rows if row["metric.psnr"] < middle}
    spec = DistillSpec.load(written(tmp_path, varied, held_out=1), [f"teacher.where=psnr < {middle}"])
    training = training_spec(spec, open_teacher(spec)[0])
    stream = Stream(training.data["pairs"], 0, 1, where=training.where["pairs"])
    seen = {next(stream.near(position)).key for position in range(72)}
    held = {sample.key for sample in stream.kept(100)}
    assert seen | held == chosen
    assert not seen & held
    for where, message in (("structure < 1", "where: .*structure"), ("psnr < 0", "where: no sample of")):
        with pytest.raises(InputError, match=message):
            Stream(training.data["pairs"], 0, 0, where=where)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": 16}, "16 samples, of which held_out holds out 16"),
        ({"teacher__where": "psnr < 5"}, "teacher.where: "),
        ({"student__params": {"width": "wide"}}, "student.params.width: "),
        ({"student": {"objective": "pix3pix"}}, "unknown objective 'pix3pix'"),
        (
            {"student": {"objective": "cyclegan_turbo", "params": {"caption_a": "a", "caption_b": "b"}}},
            "not learn from pairs",
        ),
        ({"studnet": {}}, "unknown key 'studnet': did you mean 'student'"),
        ({"metrics": ["nothing"]}, "unknown metric"),
    ],
)
def test_wrong_input(teacher: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    nested = [f"{path.replace('__', '.')}={json.dumps(value)}" for path, value in changes.items() if "__" in path]
    whole = {name: value for name, value in changes.items() if "__" not in name}
    settings = [part for each in nested for part in ("--set", each)]
    result = CliRunner().invoke(app, ["distill", str(written(tmp_path, teacher, **whole)), *settings])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "student").exists()


LIGHT = {"perceptual": "efflite0", "backbone": "efflite0", "head_width": 8, "lambda_clipsim": 0, "checkpointing": False}


@pytest.mark.parametrize(
    ("method_params", "message"),
    [
        ({}, "the weights hold no embedding of 'a street called .*': set student.method_params.caption to one"),
        ({"caption": "b"}, "student.method_params.caption: what is trained holds no embedding of .*'b', it has: 'a'"),
        ({"gamma": 0.5, "caption": "a"}, "student.method_params.gamma is 0.5"),
        ({"input": "photo"}, r"student.method_params.input: .*\(got 'photo'\)"),
    ],
)
def test_the_parameters_of_the_students_method_have_the_users_names(
    teacher: Path, tmp_path: Path, method_params: dict[str, Any], message: str
) -> None:
    """Its first validation is a job, whose ``method.params`` nobody wrote."""
    student = {
        "objective": "pix2pix_turbo",
        "params": {"networks": "mini", "adapt": "full", "caption": "a", "image_prep": "no_resize", **LIGHT},
        "method_params": method_params,
    }
    path = written(tmp_path, teacher, student=student, steps=1)
    result = CliRunner().invoke(app, ["distill", str(path)])
    assert result.exit_code == 2, result.output
    assert not re.search(r"(?<![\w.])(validation\.)?method\.", result.stderr)
    assert re.search(message, result.stderr)
    assert not (tmp_path / "student").exists()
    # who trains on such pairs without `distill` wrote them under another key
    spec = DistillSpec.load(path)
    with pytest.raises(InputError, match=message.replace("student.method_params", "validation.method.params")):
        look(training_spec(spec, open_teacher(spec)[0]), torch.device("cpu"))


def test_teachers_without_pairs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["distill", str(written(tmp_path, tmp_path / "nowhere"))])
    assert result.exit_code == 2
    assert "no output of `sceneshift run`" in result.stderr
    datasets.write_tars(tmp_path / "in", files=1, samples=2)
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    result = CliRunner().invoke(app, ["distill", str(written(tmp_path, tmp_path / "out"))])
    assert result.exit_code == 2
    assert "run it with pairs: true" in result.stderr


def test_the_examples_are_specs() -> None:
    from pipeline.spec import JobSpec
    from pipeline.training.spec import TrainSpec

    examples = Path(__file__).parents[2] / "jobs" / "examples"
    for name in ("pairs_cat_dog", "pairs_streets"):
        spec = JobSpec.load(examples / f"{name}.yaml")
        assert spec.output.pairs
        methods.resolve(spec.method.name, spec.method.preset, None, dict(spec.method.params))
    assert DistillSpec.load(examples / "distill_streets.yaml").student.objective == "pix2pix"
    assert TrainSpec.load(examples / "train_street_text_to_image.yaml").objective.name == "text_to_image"
