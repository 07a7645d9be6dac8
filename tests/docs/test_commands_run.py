"""The commands that the documentation shows are run, as far as they need no cluster and no network."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app
from pipeline.run.driver import run_job
from tests.docs.test_docs import FOREIGN, PAGES, ROOT, blocks
from tests.support.datasets import encoded, picture, street_samples, write_tar
from tests.support.jobs import job

HERE = "@here@"
"""Stands in prepared files for the folder that a command is run in."""

NOT_RUN = {
    "sceneshift run job.yaml --address": "needs a cluster",
    "sceneshift submit": "needs a cluster; tests/jobs/test_submit.py starts one",
    "sceneshift jobs": "needs a cluster; tests/jobs/test_submit.py starts one",
    "sceneshift logs my-job": "needs a cluster; tests/jobs/test_submit.py starts one",
    "sceneshift stop": "needs a cluster; tests/jobs/test_submit.py starts one",
    "sceneshift push": "needs a hub; tests/pipeline/output/test_push.py has one",
    "sceneshift distill": "trains for half a minute; tests/jobs/test_distill.py runs it",
}
"""Beginnings of the commands that this test does not run, with the reason."""


def documented() -> list[str]:
    """Every command of a console block, each once."""
    lines = (line for page in PAGES for text in blocks(page, "console") for line in text.splitlines())
    return list(dict.fromkeys(line.removeprefix("$ ").replace(".venv/bin/", "") for line in lines if line[:2] == "$ "))


def why_not(command: str) -> str | None:
    """The reason why a command is not run, or ``None``."""
    if command.split()[0] in FOREIGN:
        return "another program: what it does is not ours to test"
    if "s3://" in command:
        return "needs a bucket, which tests/pipeline/run/test_s3.py has"
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages' commands name: jobs, a training, and an output with labels."""
    folder = tmp_path_factory.mktemp("docs")
    samples = street_samples([f"s{n}" for n in range(6)])
    for members in samples.values():
        box = {"bbox": [2.0, 3.0, 10.5, 12.0], "category_id": 1, "area": 126.0, "iscrowd": 0}
        members["json"] = json.dumps({"annotations": [box]}).encode()
    write_tar(folder / "in" / "a.tar", samples)
    for name, out in (("job", "out"), ("nightly", "nightly-out")):
        tree: dict[str, Any] = {
            "name": "my-job",
            "source": {"uri": f"{HERE}/in"},
            "method": {"name": "null"},
            "output": {"uri": f"{HERE}/{out}"},
            "metrics": ["psnr", "ssim"],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    (folder / "pictures").mkdir()
    for number in range(3):
        (folder / "pictures" / f"{number}.png").write_bytes(encoded(picture(number, (24, 16)), "PNG"))
    training = {
        "objective": {"name": "toy_colour"},
        "data": {"a": {"uri": "pictures"}},
        "output": {"uri": "trained"},
        "steps": 2,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(training))
    run_job(job(folder / "in", folder / "OUT", method={"name": "null"}, metrics=["psnr", "ssim"]), local=True)
    shutil.copytree(folder / "OUT", folder / "OUT_B")
    shutil.copytree(folder / "OUT", folder / "out")
    return folder


@pytest.mark.parametrize("command", [each for each in documented() if why_not(each) is None])
def test_a_documented_command_runs(command: str, prepared: Path, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    for path in folder.glob("*.yaml"):
        path.write_text(path.read_text().replace(HERE, str(folder)))
    if " init " in command:
        (folder / "job.yaml").unlink()
    if " verify " not in command:
        shutil.rmtree(folder / "out")
    words = shlex.split(command)
    assert words[0] == "sceneshift", f"{command}: run it here, or name it in NOT_RUN with the reason"
    if words[1] == "run" and "--local" not in words:
        # the same command starts Ray otherwise, which tests/pipeline/run/test_ray.py does
        words.append("--local")
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output


def test_what_is_not_run_is_still_documented() -> None:
    commands = documented()
    assert [start for start in NOT_RUN if not any(each.startswith(start) for each in commands)] == []
    named = [name for reason in NOT_RUN.values() for name in re.findall(r"tests/\S+\.py", reason)]
    assert [name for name in named if not (ROOT / name).is_file()] == []
