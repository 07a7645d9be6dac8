"""The bytes of an output depend on source, spec and weights alone: not on process, environment, place or history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.driver import run_job
from tests.support.datasets import read_tree
from tests.support.recorded import RECORD, block_means, content_digest, exact_job, network_job

ELSEWHERE = """
import sys
from pathlib import Path
from pipeline.run.driver import run_job
from tests.support.recorded import exact_job, network_job
make = {"exact": exact_job, "network": network_job}[sys.argv[1]]
spec = make(Path(sys.argv[2]), Path(sys.argv[3]))
seen = []
def stop(progress):
    seen.append(progress)
    if len(seen) == 1:
        raise KeyboardInterrupt
try:
    run_job(spec, local=True, watch=stop)
except KeyboardInterrupt:
    pass
outcome = run_job(spec, local=True)
assert outcome.progress.before >= 1, "nothing was left by the run that was stopped"
"""
"""A run that is stopped after its first shard, and the one that ends its work, in another process."""


@pytest.mark.parametrize("name", ["exact", "network"])
def test_another_process_on_another_day_writes_the_same_bytes(name: str, tmp_path: Path) -> None:
    make = {"exact": exact_job, "network": network_job}[name]
    run_job(make(tmp_path / "in", tmp_path / "out"), local=True)
    other = {
        **os.environ,
        "PYTHONHASHSEED": "4711",
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "HOME": str(tmp_path),
        "HOSTNAME": "elsewhere",
    }
    elsewhere = tmp_path / "a place of its own" / "out"
    arguments = [name, str(tmp_path / "in"), str(elsewhere)]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *arguments], env=other, cwd=tmp_path, check=True)
    for folder in ("data", "index"):
        here, there = read_tree(tmp_path / "out", folder), read_tree(elsewhere, folder)
        assert here
        assert here == there
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    if name == "exact":
        assert content_digest(tmp_path / "out") == recorded["exact"]
    else:
        found = block_means(tmp_path / "out")
        assert found.keys() == recorded["network"].keys()
        for key, means in found.items():
            np.testing.assert_allclose(means, recorded["network"][key], atol=recorded["tolerance"])


def test_a_changed_pixel_or_label_is_another_content(tmp_path: Path) -> None:
    """The recorded checksum can fail: another seed, another picture or another box gives another one."""
    spec = exact_job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    other = spec.model_copy(update={"seed": 8, "output": spec.output.model_copy(update={"uri": str(tmp_path / "o2")})})
    run_job(other, local=True)
    assert content_digest(tmp_path / "out") != content_digest(tmp_path / "o2")
