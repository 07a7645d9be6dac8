"""A run over 64 shards whose store misbehaves: it completes, or ends with one line, and never writes a wrong byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlparse

import pytest
import yaml

from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import street_samples, write_tar
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.seaweed import Bucket

SHARDS = 64
MOST_ATTEMPTS = 60
"""Requests for one object in one run, faults included: the lock and the job's record are read before every commit."""


def spec_tree(bucket: Bucket, out: str, endpoint: str | None = None) -> dict[str, Any]:
    storage = bucket.storage | ({"endpoint_url": endpoint} if endpoint else {})
    return {
        "source": {"uri": f"{bucket.uri}/in", "storage": storage},
        "method": {"name": "invert"},
        "output": {"uri": f"{bucket.uri}/{out}", "storage": storage, "shard_size": 2, "image": {"format": "png"}},
        "metrics": [],
    }


@pytest.fixture
def filled(bucket, tmp_path) -> Bucket:
    """A bucket with tars of 64 shards, and what an undisturbed run makes of them under ``calm``."""
    for number in range(8):
        names = [f"s{number}{n:02d}" for n in range(2 * SHARDS // 8)]
        path = write_tar(tmp_path / f"part-{number}.tar", street_samples(names))
        bucket.store("in").put(path.name, path.read_bytes())
    run_job(JobSpec.parse(spec_tree(bucket, "calm")), local=True)
    return bucket


def start(folder: Path, tree: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "jobs", "run", "--local", "-q", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def committed(bucket: Bucket, out: str) -> dict[str, bytes]:
    return {name: data for name, data in bucket.objects(out).items() if name.startswith(("data/", "index/"))}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_tenth_of_all_requests_goes_wrong(filled, tmp_path, fault):
    upstream = urlparse(filled.server.endpoint_url).port
    assert upstream is not None
    with FaultProxy(upstream, fault, seed=14) as proxy:
        done = start(tmp_path, spec_tree(filled, "out", proxy.endpoint_url))
        spoilt, busiest = (
            sum(proxy.spoilt.values()),
            max((number, place) for place, number in proxy.attempts.items() if "_sceneshift" not in place[1]),
        )
    print(json.dumps({"fault": fault, "rc": done.returncode, "spoilt": spoilt, "busiest": busiest, "err": done.stderr}))
    assert spoilt > 0
    assert "Traceback" not in done.stderr
    assert busiest[0] <= MOST_ATTEMPTS, busiest
    wanted = committed(filled, "calm")
    if done.returncode != 0:
        assert done.returncode in (2, 3), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        # What is committed is right, and the same command without the faults does the rest.
        assert committed(filled, "out").items() <= wanted.items()
        again = start(tmp_path, spec_tree(filled, "out"))
        assert again.returncode == 0, again.stderr
    assert committed(filled, "out") == wanted
    assert verify(filled.store("out")).sound
