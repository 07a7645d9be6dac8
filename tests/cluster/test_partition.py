"""A node whose network is cut while a run is under way, and comes back: the run ends with the same bytes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import read_tree, write_tars
from tests.support.machines import two_machines
from tests.support.ray_head import joined, ray_head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CUT_SECONDS = 40


# What is left when the node is gone has room for all workers and for what reads and writes beside them.
HEAD_CPUS, NODE_CPUS, WORKERS = 4, 2, 3


def job_file(tmp_path: Path, out: str) -> Path:
    tree = {
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "sleeper", "params": {"seconds": 1.0}},
        "output": {"uri": str(tmp_path / out), "shard_size": 2},
        "metrics": [],
        "compute": {"workers": WORKERS},
    }
    path = tmp_path / f"{out}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def until(met: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def test_a_node_that_is_cut_off_and_comes_back_costs_no_byte(tmp_path: Path):
    write_tars(tmp_path / "in", 4, 16)
    with two_machines() as network, ray_head(HEAD_CPUS, network.here) as head:
        place, log = network.machines["n1"], tmp_path / "node.log"
        with joined(head, NODE_CPUS, place, log, network.inside("n1")):
            words = [sys.executable, "-m", "jobs", "run", str(job_file(tmp_path, "out")), "--address", head.gcs]
            said = tmp_path / "run.log"
            with said.open("w") as log:
                run = subprocess.Popen(words, env=head.environment, stdout=log, stderr=log)
            index = tmp_path / "out" / "index"
            until(lambda: index.exists() and len(list(index.iterdir())) >= 3, "nothing is committed")
            network.cut("n1")
            time.sleep(CUT_SECONDS)
            network.mend("n1")
            assert run.wait(300) == 0, said.read_text()
            assert "6 CPUs" in said.read_text()
            assert "Traceback" not in said.read_text()
    alone = run_job(JobSpec.load(job_file(tmp_path, "alone"), ["method.params.seconds=0.001"]), local=True)
    assert alone.state == "done"
    found, wanted = (read_tree(tmp_path / out, "data") for out in ("out", "alone"))
    assert len(found) == 32
    assert found == wanted
