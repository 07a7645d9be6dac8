"""A job with targets on the command line: plan, preview, run, and the lines that mistakes get."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from jobs.cli import app
from jobs.commands.submit import Submission, _packed, checked
from pipeline.spec import JobSpec
from tests.support.datasets import write_tars

TINY = Path(__file__).parents[1] / "golden" / "pix2pix_zero" / "models" / "tiny_a"


def cli(*words: str | Path) -> Any:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    write_tars(tmp_path / "in", 2, 6)
    tree = {
        "name": "try",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "invert"},
        "output": {"uri": str(tmp_path / "out"), "image": {"format": "png"}},
        "metrics": ["psnr"],
        "targets": {"plain": {}, "noise": {"method": {"name": "noisy"}, "keep": "psnr < 100"}},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def test_plan_preview_and_run_know_every_target(job_file: Path, tmp_path: Path) -> None:
    planned = json.loads(cli("plan", job_file, "--json").stdout)["targets"]
    assert {name: (each["samples"], each["output"]) for name, each in planned.items()} == {
        name: (12, str(tmp_path / "out" / name)) for name in ("plain", "noise")
    }
    alone, both = tmp_path / "alone.png", tmp_path / "both.png"
    assert cli("preview", job_file, "--count", "2", "--out", both).exit_code == 0
    assert cli("preview", job_file, "--count", "2", "--out", alone, "--set", "targets={}").exit_code == 0
    with Image.open(both) as wide, Image.open(alone) as narrow:
        assert wide.width > narrow.width
    done = cli("run", job_file, "--local", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)["targets"]
    assert {name: each["metrics"]["rows"]["ok"] for name, each in document.items()} == {"plain": 12, "noise": 12}
    said = cli("run", job_file, "--local")
    assert said.output.count("is committed (2 shards)") == 2
    assert "Target noise" in said.output
    assert "finished" in cli("status", tmp_path / "out" / "noise").output


def test_commands_on_an_output_ask_for_one_target(job_file: Path, tmp_path: Path) -> None:
    asked = cli("status", job_file)
    assert asked.exit_code == 2
    assert (
        f"an output of its own for each target (plain, noise); name one, such as {tmp_path}/out/plain" in asked.output
    )
    (tmp_path / "out").mkdir()
    assert "the folder of one target" in cli("verify", tmp_path / "out").output


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("noise:", "plain:", "the key 'plain' stands twice"),
        ("noise:", "../noise:", "targets"),
        ("name: noisy", "name: nosy", "target noise: unknown method 'nosy': did you mean 'noisy'?"),
        ("keep: psnr < 100", "keep: ssim < 1", "target noise: keep"),
        ("keep: psnr < 100", "output: {uri: out/plain}", "unknown key 'targets.noise.output'"),
        ("    method:\n      name: noisy", "    method: noisy", "targets.noise.method"),
    ],
)
def test_mistakes_are_one_line(job_file: Path, tmp_path: Path, before: str, after: str, said: str) -> None:
    text = job_file.read_text()
    assert before in text
    job_file.write_text(text.replace(before, after))
    for words in (["run", "--local"], ["plan"]):
        found = cli(*words, job_file)
        assert found.exit_code == 2
        lines = [line for line in found.output.splitlines() if line.strip()]
        assert len(lines) == 1, found.output
        assert said in lines[0]
    assert not (tmp_path / "out").exists()


def borrowed(weights: str, image: str) -> dict[str, Any]:
    edit = {"edit": "appearance", "words": ["cat"], "reference": "dog"}
    params = {"edits": [edit], "references": {"dog": {"image": image, "caption": "a cat"}}}
    return {"name": "self_guidance", "weights": weights, "params": params}


def targets_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose weights, references and lists of sentences are named by paths relative to where it lies."""
    write_tars(tmp_path / "in", 1, 2)
    (tmp_path / "words").mkdir()
    for name in ("cat", "dog", "fox"):
        (tmp_path / "words" / f"{name}.txt").write_text(f"a {name}\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "words" / "dog.png")
    shutil.copytree(TINY, tmp_path / "tiny")
    tree = {
        "name": "try",
        "source": {"uri": str(tmp_path / "in")},
        "method": {
            "name": "pix2pix_zero",
            "weights": "tiny",
            "params": {"source": "words/cat.txt", "caption": "words/cat.txt is no path here", "steps": 3},
        },
        "output": {"uri": str(tmp_path / "out")},
        "targets": {
            "dog": {"method": {"params": {"target": "words/dog.txt"}}},
            "fox": {"method": {"params": {"target": "words/fox.txt", "caption": "dog"}}},
            "other": {"method": borrowed("./tiny", "words/dog.png")},
        },
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    return path


def test_a_submitted_job_names_files_by_paths_that_hold_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = targets_with_weights(tmp_path, monkeypatch)
    command, spec = checked(path, ())
    with _packed(Submission(path), command, spec) as (_, environment):
        sent = json.loads((Path(environment["working_dir"]) / "job.yaml").read_text())
    words = tmp_path / "words"
    assert sent["method"]["weights"] == str(tmp_path / "tiny")
    assert sent["method"]["params"] == {
        "source": str(words / "cat.txt"),
        "caption": "words/cat.txt is no path here",
        "steps": 3,
    }
    assert sent["targets"] == {
        "dog": {"method": {"params": {"target": str(words / "dog.txt")}}},
        "fox": {"method": {"params": {"target": str(words / "fox.txt"), "caption": "dog"}}},
        "other": {"method": borrowed(str(tmp_path / "tiny"), str(words / "dog.png"))},
    }
    monkeypatch.chdir("/")
    assert JobSpec.parse(sent).targets.keys() == {"dog", "fox", "other"}


@pytest.mark.parametrize("target", ["cronjob", "slurm"])
def test_a_scheduled_job_with_relative_paths_of_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    path = targets_with_weights(tmp_path, monkeypatch)
    words = ("schedule", path, "--cron", "0 2 * * *", "--target", target, "--out", tmp_path / "files")
    said = cli(*words)
    assert said.exit_code == 2
    assert "words/cat.txt: a schedule needs absolute paths or URIs" in said.output
    path.write_text(path.read_text().replace(" words/", f" {tmp_path}/words/"))
    assert "tiny: a schedule needs absolute paths or URIs" in cli(*words).output
    text = path.read_text().replace("weights: tiny", f"weights: {tmp_path}/tiny")
    text = text.replace("weights: ./tiny", f"weights: {tmp_path}/tiny")
    # what the metrics of a target compare with is a place too
    path.write_text(text.replace("    method:\n", "    metrics_reference: {uri: night}\n    method:\n", 1))
    assert "night: a schedule needs absolute paths" in cli(*words).output
    path.write_text(text)
    done = cli(*words)
    assert done.exit_code == 0, done.output
    assert "targets:" in "".join(file.read_text() for file in (tmp_path / "files").iterdir())
