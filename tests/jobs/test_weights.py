"""`sceneshift weights`: the URIs a job loads, and the files fetched with their checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from jobs.commands.weights import list_weights_command, pull_weights_command
from jobs.console import Console
from methods.errors import InputError
from methods.weights import BUNDLED

NAME = "street-day2night"


def job_file(tmp_path: Path, **method) -> Path:
    path = tmp_path / "job.yaml"
    tree = {"source": {"uri": "/data/in"}, "method": method, "output": {"uri": "/data/out"}}
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_weights_of_a_job_are_listed_and_fetched(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
    path = job_file(tmp_path, name="pix2pix", weights=f"bundled://{NAME}")
    list_weights_command(Console(True), path, [])
    assert json.loads(capsys.readouterr().out) == [f"bundled://{NAME}"]
    pull_weights_command(Console(True), path, [])
    (found,) = json.loads(capsys.readouterr().out)
    file = BUNDLED / NAME / "model.safetensors"
    assert found["path"] == str(file)
    assert found["bytes"] == file.stat().st_size
    assert found["identity"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def test_a_pull_of_what_is_not_there_is_refused(tmp_path):
    path = job_file(tmp_path, name="pix2pix", weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="no such file"):
        pull_weights_command(Console(True), path, [])


def test_a_method_without_weights_needs_none(tmp_path, capsys):
    list_weights_command(Console(False), job_file(tmp_path, name="invert"), [])
    assert "needs no weights" in capsys.readouterr().out
