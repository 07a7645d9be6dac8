"""A submitted job whose second node is killed in the middle: it ends as succeeded, with the bytes of a calm run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import index_parts, read_tree, write_tars
from tests.support.ray_head import joined, kill, ray_head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SHARDS = 24


def job_file(tmp_path: Path, out: str, seconds: float) -> Path:
    tree = {
        "name": "lost",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "sleeper", "params": {"seconds": seconds}},
        "output": {"uri": str(tmp_path / out), "shard_size": 2},
        "metrics": [],
        "compute": {"workers": 3},
    }
    path = tmp_path / f"{out}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def workers_of(out: Path) -> int:
    """How many have loaded the method so far, by the log files that they write."""
    return sum(" loaded on " in each.read_text() for each in (out / "_sceneshift" / "logs").glob("*/*-*.log"))


def test_a_node_killed_under_a_submitted_job_costs_no_byte(tmp_path: Path):
    write_tars(tmp_path / "in", 3, 16)
    out = tmp_path / "out"
    with ray_head(cpus=4) as head, joined(head, 2, "127.0.0.1", tmp_path / "node.log") as node:
        sent = head.cli("submit", job_file(tmp_path, "out", 4.0), "--json")
        assert sent.returncode == 0, sent.stderr
        id_ = json.loads(sent.stdout)["id"]
        until = time.monotonic() + 240
        while not (out.exists() and index_parts(out) and workers_of(out) == 3):
            assert time.monotonic() < until, head.cli("logs", id_).stdout
            time.sleep(0.2)
        kill(node)
        assert len(index_parts(out)) < SHARDS, "there was nothing left to lose"
        followed = head.cli("logs", id_, "--follow")
        (job,) = json.loads(head.cli("jobs", "--json").stdout)
        assert (job["id"], job["status"], job["exit_code"]) == (id_, "SUCCEEDED", 0), followed.stdout
        assert "Traceback" not in followed.stdout
        verified = head.command("verify", out)
        assert verified.returncode == 0, verified.stdout
    run_job(JobSpec.load(job_file(tmp_path, "alone", 0.001)), local=True)
    assert len(index_parts(out)) == SHARDS
    assert read_tree(out, "data") == read_tree(tmp_path / "alone", "data")
