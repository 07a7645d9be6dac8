"""`sceneshift distill` from the pairs of a run to a method checkpoint and its comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import methods
from jobs.cli import app
from pipeline.run.driver import run_job
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
    assert report["speedup"] == pytest.approx(report["teacher_seconds"] / report["student_seconds"])
    assert json.loads((tmp_path / "student" / "distill.json").read_text()) == report
    # the block can be pasted into a job
    block = report["method"]
    assert methods.load(block["name"], weights=block["weights"]) is not None
    again = CliRunner().invoke(app, ["distill", str(spec)])
    assert again.exit_code == 0, again.output
    assert "4 held-out pictures" in again.stdout


def test_held_out_pairs_are_not_trained_on(teacher: Path, tmp_path: Path) -> None:
    from pipeline.training.distillation import DistillSpec, StudentSpec, open_teacher, split, training_spec
    from pipeline.training.streams import Stream

    spec = DistillSpec.load(written(tmp_path, teacher, held_out=5))
    store, _ = open_teacher(spec)
    files = split(store, spec.held_out)
    assert files.size == 16
    training = training_spec(spec, store, files)
    assert training.data["pairs"].image == "source_image"
    assert training.data["pairs"].target == "image"
    stream = Stream(training.data["pairs"], 0, training.validation.samples)
    # training finds by itself what the comparison is made on
    assert stream.held_out == files.held_out
    kept = {sample.key for sample in stream.first() if sample.key in files.held_out}
    assert len(kept) == 5
    assert not kept & {next(stream.near(position)).key for position in range(32)}
    student = StudentSpec(objective="pix2pix_turbo", params={"networks": "mini"})
    turbo = training_spec(spec.model_copy(update={"student": student}), store, files)
    assert turbo.objective.name == "pix2pix_turbo"
    assert turbo.data == training.data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": 16}, "16 pairs, of which held_out keeps 16"),
        ({"student": {"objective": "pix3pix"}}, "unknown objective 'pix3pix'"),
        ({"student": {"objective": "cyclegan_turbo", "params": {"caption_a": "a", "caption_b": "b"}}}, "one stream"),
        ({"studnet": {}}, "unknown key 'studnet': did you mean 'student'"),
        ({"metrics": ["nothing"]}, "unknown metric"),
    ],
)
def test_wrong_input(teacher: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    result = CliRunner().invoke(app, ["distill", str(written(tmp_path, teacher, **changes))])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "student").exists()


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
    from pipeline.training.distillation import DistillSpec
    from pipeline.training.spec import TrainSpec

    examples = Path(__file__).parents[2] / "jobs" / "examples"
    for name in ("pairs_cat_dog", "pairs_streets"):
        spec = JobSpec.load(examples / f"{name}.yaml")
        assert spec.output.pairs
        methods.resolve(spec.method.name, spec.method.preset, None, dict(spec.method.params))
    assert DistillSpec.load(examples / "distill_streets.yaml").student.objective == "pix2pix"
    assert TrainSpec.load(examples / "train_street_text_to_image.yaml").objective.name == "text_to_image"
