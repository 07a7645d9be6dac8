"""Weights of a job that were written anew: the same tensors are the same job, in outputs of earlier versions too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from methods.errors import InputError
from methods.pix2pix.files import save_generator
from methods.pix2pix.network import UNetGenerator
from methods.weights import are_same, cache, identity
from pipeline.run.driver import run_job
from pipeline.run.prefetch import _identities  # pyright: ignore[reportPrivateUsage]
from pipeline.spec import JobSpec
from tests.support.datasets import read_tree, write_tars
from tests.support.jobs import job


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    torch.manual_seed(0)
    network = UNetGenerator(8, 1)
    save_generator(tmp_path / "model.safetensors", network, network.state_dict(), {"steps": "1"})
    write_tars(tmp_path / "in", 1, 2)
    method = {"name": "pix2pix", "weights": str(tmp_path / "model.safetensors")}
    return job(tmp_path / "in", tmp_path / "out", method=method)


def saved_again(path: Path) -> None:
    """As another program would: the library's own order, and space behind the header."""
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "about": "{}"}
    before = path.read_bytes()
    save_file(load_file(path), path, metadata=metadata)
    assert path.read_bytes() != before


def test_a_job_goes_on_with_weights_that_were_saved_again(tmp_path: Path, spec: JobSpec) -> None:
    run_job(spec, local=True)
    before = read_tree(tmp_path, "out")
    saved_again(tmp_path / "model.safetensors")
    assert run_job(spec, local=True).state == "nothing_to_do"
    assert read_tree(tmp_path, "out") == before


def test_an_output_of_an_earlier_version_goes_on(
    tmp_path: Path, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a file of tensors was known by its bytes; that name stays as long as it is right."""
    with monkeypatch.context() as earlier:
        earlier.setattr(cache, "kept_contents", lambda path: None)
        run_job(spec, local=True)
    record = json.loads((tmp_path / "out/_sceneshift/job.json").read_text())
    assert record["weights_identity"][0].startswith("sha256:")
    for part in (tmp_path / "out/index").iterdir():
        part.unlink()
    assert run_job(spec, local=True).progress.ok == 2
    assert json.loads((tmp_path / "out/_sceneshift/job.json").read_text()) == record
    uri = str(tmp_path / "model.safetensors")
    known = {uri: record["weights_identity"][0]}
    assert _identities(known) == list(known.values())
    assert are_same(uri, known[uri], identity(uri))
    saved_again(tmp_path / "model.safetensors")
    assert not are_same(uri, known[uri], identity(uri))
    with pytest.raises(InputError, match=r"another job \(weights_identity: \['sha256:.*'tensors:"):
        run_job(spec, local=True)
