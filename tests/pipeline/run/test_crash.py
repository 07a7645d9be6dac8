"""Drivers killed with -9 in the middle, on a cluster of their own; a rerun finishes the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.run.driver import run_job
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def start(spec: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "run", str(spec), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def job_file(tmp_path: Path, out: Path, seconds: float = 0, **compute: float) -> Path:
    path = tmp_path / f"{out.name}.yaml"
    tree = {
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "trouble", "params": {"seconds": seconds}},
        "output": {"uri": str(out), "image": {"format": "png"}},
        "metrics": [],
        "compute": {"workers": 1, **compute},
    }
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("mode", [pytest.param("local", marks=pytest.mark.long), "ray"])
def test_a_killed_driver_leaves_only_whole_shards_and_a_rerun_does_the_rest(tmp_path, mode):
    write_tars(tmp_path / "in", 3, 16)
    out = tmp_path / "out"
    spec = job_file(tmp_path, out, 0.6)
    driver = start(spec, *(["--local"] if mode == "local" else []))
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and driver.poll() is None and len(read_tree(out, "index")) < 2:
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGKILL)
    finally:
        driver.wait()
    survived = read_tree(out, "index")
    assert 2 <= len(survived) < 6, driver.stderr.read() if driver.stderr else ""
    assert (out / "_sceneshift" / "lock.json").exists()
    again = start(spec, "--local", "--json")
    text, problems = again.communicate(timeout=240)
    assert again.returncode == 0, problems
    outcome = json.loads(text)
    assert outcome["metrics"]["rows"] == {"attempted": 48, "ok": 48, "filtered": 0, "rejected": 0}
    assert outcome["this_run"]["ok"] < 48
    rows = index_rows(out)
    assert len(rows) == len({row["key"] for row in rows}) == 48
    calm = tmp_path / "calm"
    run_job(job(tmp_path / "in", calm, method__name="trouble", method__params={"seconds": 0.6}), local=True)
    assert read_tree(out, "data", "index") == read_tree(calm, "data", "index")


@pytest.mark.long
def test_a_hanging_worker_ends_the_job_and_is_named(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples(["a", "b", "hang-1"]))
    driver = start(job_file(tmp_path, tmp_path / "out", stall_timeout=60))
    try:
        _, problems = driver.communicate(timeout=360)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    assert driver.returncode == 3, problems
    assert "has been at shard a-" in problems
    assert "Traceback" not in problems
    assert not (tmp_path / "out" / "_sceneshift" / "lock.json").exists()
