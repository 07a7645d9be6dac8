"""A job with targets on the command line: plan, preview, run, and the lines that mistakes get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from jobs.cli import app
from tests.support.datasets import write_tars


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
    assert said.output.count("Nothing to do: all 2 shards") == 2
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
