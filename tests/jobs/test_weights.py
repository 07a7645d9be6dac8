"""`sceneshift weights`: the URIs a job loads, and the files fetched with their checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import fsspec
import pytest
import yaml

from jobs.commands.weights import (
    list_weights_command,
    mirror_weights_command,
    pull_weights_command,
    verify_weights_command,
)
from jobs.console import Console
from methods.errors import InputError
from methods.weights import BUNDLED
from methods.weights.contents import contents_sum

NAME = "street-day2night"


def job_file(tmp_path: Path, **method) -> Path:
    path = tmp_path / "job.yaml"
    tree = {"source": {"uri": "/data/in"}, "method": method, "output": {"uri": "/data/out"}}
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_weights_of_a_job_are_listed_and_fetched(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
    path = job_file(tmp_path, name="pix2pix", weights=f"bundled://{NAME}")
    list_weights_command(Console(True), str(path), [])
    assert [each["uri"] for each in json.loads(capsys.readouterr().out)] == [f"bundled://{NAME}"]
    pull_weights_command(Console(True), str(path), [])
    (found,) = json.loads(capsys.readouterr().out)
    file = BUNDLED / NAME / "model.safetensors"
    assert found["path"] == str(file)
    assert found["bytes"] == file.stat().st_size
    assert found["identity"] == f"tensors:{contents_sum(file)}"


def test_a_pull_of_what_is_not_there_is_refused(tmp_path):
    path = job_file(tmp_path, name="pix2pix", weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="no such file"):
        pull_weights_command(Console(True), str(path), [])


def test_a_method_without_weights_needs_none(tmp_path, capsys):
    list_weights_command(Console(False), str(job_file(tmp_path, name="invert")), [])
    assert "No weights are needed" in capsys.readouterr().out


def test_what_a_method_or_a_preset_needs(tmp_path, capsys):
    list_weights_command(Console(True), "cyclegan_turbo/street_day_to_night", [])
    (one,) = json.loads(capsys.readouterr().out)
    assert one["sha256"] == hashlib.sha256((BUNDLED / NAME / "model.safetensors").read_bytes()).hexdigest()
    list_weights_command(Console(True), "cyclegan_turbo", [])
    every = json.loads(capsys.readouterr().out)
    assert one in every
    released = next(each for each in every if each["uri"].endswith("day2night.pkl"))
    assert (released["path"], released["bytes"]) == (None, None)
    with pytest.raises(InputError, match="has no preset 'day_to_nigth'"):
        list_weights_command(Console(True), "cyclegan_turbo/day_to_nigth", [])


def test_weights_are_mirrored_and_verified(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
    mirror = tmp_path / "mirror"
    fsspec.filesystem("memory").pipe("/weights/m.safetensors", b"content")
    path = job_file(tmp_path, name="pix2pix", weights="memory://weights/m.safetensors")
    with pytest.raises(InputError, match="--to: name a folder or bucket, or set SCENESHIFT_MIRROR"):
        mirror_weights_command(Console(True), str(path), [], None)
    for copied in (7, 0):
        assert mirror_weights_command(Console(True), str(path), [], str(mirror)) == 0
        (found,) = json.loads(capsys.readouterr().out)["weights"]
        assert (found["bytes"], found["copied"]) == (7, copied)
    monkeypatch.setenv("SCENESHIFT_MIRROR", str(mirror))
    list_weights_command(Console(True), str(path), [])
    assert json.loads(capsys.readouterr().out)[0]["mirrored"] is True
    assert verify_weights_command(Console(True), str(path), []) == 0
    states = [row["state"] for row in json.loads(capsys.readouterr().out)["weights"]]
    assert states == ["as fetched", "as fetched"]
    (blob,) = (mirror / "blobs").iterdir()
    blob.write_bytes(b"c0ntent")
    assert verify_weights_command(Console(False), str(path), []) == 3
    said = capsys.readouterr()
    assert "damaged: the file" in said.out
    assert "1 damaged" in said.err
    assert mirror_weights_command(Console(True), str(path), [], None) == 0
    assert blob.read_bytes() == b"content"


@pytest.mark.parametrize("content", [b"c0ntent", b"cont", None])
def test_a_damaged_copy_is_found_and_fills_no_mirror(content, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
    fsspec.filesystem("memory").pipe("/weights/n.safetensors", b"content")
    path = job_file(tmp_path, name="pix2pix", weights="memory://weights/n.safetensors")
    assert verify_weights_command(Console(False), str(path), []) == 0
    assert "not fetched" in capsys.readouterr().out
    pull_weights_command(Console(True), str(path), [])
    place = Path(json.loads(capsys.readouterr().out)[0]["path"])
    if content is None:
        place.unlink()
    else:
        place.write_bytes(content)
    assert verify_weights_command(Console(False), str(path), []) == 3
    assert "damaged: " in capsys.readouterr().out
    if content is not None and len(content) == 7:
        # one of another size is fetched anew
        with pytest.raises(InputError, match=r"this node's copy is damaged .*delete it, then mirror again"):
            mirror_weights_command(Console(True), str(path), [], str(tmp_path / "mirror"))
        assert not (tmp_path / "mirror" / "blobs").exists()
        place.unlink()
    assert mirror_weights_command(Console(True), str(path), [], str(tmp_path / "mirror")) == 0
    (blob,) = (tmp_path / "mirror" / "blobs").iterdir()
    assert blob.read_bytes() == b"content"
