"""A probe is to its method what a worker is: weights are fetched first, then nothing is asked of the hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from methods import weights
from pipeline.job import Job
from pipeline.run.probe import Probe
from pipeline.run.resolving import resolve
from pipeline.translate import translator
from tests.support.datasets import write_tars
from tests.support.jobs import job


def test_a_probe_loads_its_method_offline_as_a_worker_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(tmp_path / "in", 1, 2)
    ready, plan = resolve(job(tmp_path / "in", tmp_path / "out"))
    seen: list[str] = []
    # set, so that it is taken back after the test
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(Job, "weights_by_uri", {"somebody/model": "sha256:1"})
    monkeypatch.setattr(weights, "fetch", seen.append)
    load = translator.methods.load
    monkeypatch.setattr(
        translator.methods,
        "load",
        lambda *args, **named: (seen.append(f"offline {os.environ['HF_HUB_OFFLINE']}"), load(*args, **named))[1],
    )
    probe = Probe(ready)
    try:
        assert seen == ["somebody/model", "offline 1"]
        assert probe.hold(plan.pending[0]) == 2
        probe.try_one(0)
    finally:
        probe.translator.close()
