"""A run over 64 shards whose store misbehaves: it completes, or ends with one line, and never writes a wrong byte."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlparse

import pytest
import yaml

from methods.s3 import ATTEMPTS, READS
from pipeline.errors import JobFailed
from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.runlog import RunLog
from pipeline.spec import JobSpec
from pipeline.storage import StorageOptions, Store, Unreachable
from tests.support.datasets import street_samples, write_tar
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.seaweed import Bucket

SHARDS = 64
MOST_ATTEMPTS = 60
"""Requests for one object in one run, faults included: the lock and the job's record are read before every commit."""


def spec_tree(bucket: Bucket, out: str, endpoint: str | None = None) -> dict[str, Any]:
    storage = bucket.storage | ({"endpoint_url": endpoint} if endpoint else {})
    return spec_tree_of(f"{bucket.uri}/in", f"{bucket.uri}/{out}", storage)


def spec_tree_of(source: str, out: str, storage: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": {"uri": source, "storage": storage},
        "method": {"name": "invert"},
        "output": {"uri": out, "storage": storage, "shard_size": 2, "image": {"format": "png"}},
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


def command(folder: Path, tree: dict[str, Any]) -> list[str]:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    return [sys.executable, "-m", "jobs", "run", "--local", "-q", str(path)]


def start(folder: Path, tree: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, tree), capture_output=True, text=True, timeout=900)


def upstream(bucket: Bucket) -> int:
    port = urlparse(bucket.server.endpoint_url).port
    assert port is not None
    return port


def committed(bucket: Bucket, out: str) -> dict[str, bytes]:
    return {name: data for name, data in bucket.objects(out).items() if name.startswith(("data/", "index/"))}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_tenth_of_all_requests_goes_wrong(filled, tmp_path, fault):
    with FaultProxy(upstream(filled), fault, seed=14) as proxy:
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


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_store_that_falls_silent_ends_the_run_in_one_line(filled, tmp_path):
    with FaultProxy(upstream(filled), "stall", share=0.0, stall_seconds=600.0) as proxy:
        driver = subprocess.Popen(
            command(tmp_path, spec_tree(filled, "out", proxy.endpoint_url)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while driver.poll() is None and len(filled.store("out").list("index")) < 4:
            time.sleep(0.1)
        proxy.share = 1.0
        _, said = driver.communicate(timeout=240)
    assert driver.returncode == 3, said
    (line,) = said.strip().splitlines()
    assert "does not answer" in line
    assert committed(filled, "out").items() <= committed(filled, "calm").items()


def test_a_store_that_stops_answering_in_the_middle_is_no_mistake_of_the_users(tmp_path, monkeypatch):
    write_tar(tmp_path / "in" / "a.tar", street_samples(["a", "b"]))
    tree = spec_tree_of(str(tmp_path / "in"), str(tmp_path / "out"), {})
    for place, name, error in ((RunLog, "flush", JobFailed), (Store, "put_new", Unreachable)):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, unreachable)
            with pytest.raises(error, match="does not answer") as found:
                run_job(JobSpec.parse(tree), local=True, fresh=True)
            assert ("run the job again to go on" in str(found.value)) == (error is JobFailed)
    assert run_job(JobSpec.parse(tree), local=True).state == "done"


def unreachable(*arguments: object) -> None:
    raise Unreachable("s3://bucket/out: the endpoint does not answer")


SPOILT = {
    "reset": (2 * ATTEMPTS, "does not answer"),
    "slow_down": (ATTEMPTS, "does not answer"),
    "truncated": (READS, "does not answer"),
    "forbidden": (1, "access denied"),
    "expired": (1, "the credentials have expired"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_what_does_not_come_is_asked_for_so_often_and_no_more(bucket, monkeypatch, fault):
    # The pauses between attempts, which are random, without their length.
    monkeypatch.setattr(random, "random", lambda: 0.0)
    attempts, said = SPOILT[fault]
    bucket.store().put("in/a", b"0123456789" * 100)
    place = ("GET", f"/{bucket.name}/in/a")
    with FaultProxy(upstream(bucket), fault, share=0.0) as proxy:
        options = StorageOptions.model_validate(bucket.storage | {"endpoint_url": proxy.endpoint_url})
        store = Store(f"{bucket.uri}/in", options)
        file = store.open("a")
        proxy.share = 1.0
        with pytest.raises(Unreachable, match=said):
            file.read()
        assert proxy.attempts[place] == attempts
        proxy.attempts.clear()
        with pytest.raises(Unreachable, match=said):
            store.read("a")
        assert proxy.attempts == {place: attempts}
