"""Several targets of one read on Ray, in processes, and when the driver is killed: each has its own job's bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.output.verify import verify
from pipeline.run.driver import Order, run_job
from pipeline.run.targets import run_targets
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.targets import target_jobs
from tests.support.datasets import encoded, index_parts, picture, read_tree, write_tar, write_tars
from tests.support.jobs import job

TARGETS: dict[str, Any] = {"a": {}, "b": {"method": {"name": "noisy"}}, "c": {"method": {"preset": "night"}}}


def made(out: Path) -> dict[str, bytes]:
    return read_tree(out, "data", "index")


def separate(spec: JobSpec, folder: Path) -> dict[str, dict[str, bytes]]:
    """What the job of each target writes by itself."""
    found = {}
    for name, each in target_jobs(spec).items():
        output = each.output.model_copy(update={"uri": str(folder / name)})
        run_job(each.model_copy(update={"output": output}), local=True)
        found[name] = made(folder / name)
    return found


@pytest.mark.long
@pytest.mark.timeout(420)
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_a_worker_that_dies_costs_the_other_targets_nothing(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 2, 13)
    write_tar(tmp_path / "in" / "z.tar", {name: {"jpg": encoded(picture(1))} for name in ("x", "die-y")})
    targets = {**TARGETS, "deadly": {"method": {"name": "trouble"}}}
    spec = job(tmp_path / "in", tmp_path / "out", targets=targets, compute__workers=1, max_rejects=5)
    calm = spec.model_copy(update={"targets": {name: spec.targets[name] for name in TARGETS}})
    wanted = separate(calm, tmp_path / "alone")
    seen: list[int] = []
    outcomes = run_targets(spec, Order(watch=lambda progress: seen.append(progress.shards)))
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted
    # five shards were read for the first target; four of each other one were made on the way
    assert seen[:5] == [1, 2, 3, 4, 5]
    assert [each.progress.ok for each in outcomes.values()] == [28, 28, 28, 27]
    assert outcomes["deadly"].progress.reasons == {"killed_worker": 1}
    assert all(verify(Store(str(tmp_path / "out" / name))).sound for name in targets)


@pytest.mark.slow
def test_in_two_processes_the_targets_have_the_bytes_of_their_own_jobs(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 3, 10)
    spec = job(tmp_path / "in", tmp_path / "out", targets=TARGETS)
    wanted = separate(spec, tmp_path / "alone")
    outcomes = run_targets(spec, Order(local=True, processes=2))
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted
    assert [each.progress.ok for each in outcomes.values()] == [30, 30, 30]


def test_a_driver_killed_in_the_middle_is_gone_on_with(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 3, 10)
    slow = {"name": "trouble", "params": {"seconds": 0.3}}
    tree = {
        "source": {"uri": str(tmp_path / "in")},
        "method": slow,
        "output": {"uri": str(tmp_path / "out"), "image": {"format": "png"}},
        "metrics": [],
        "targets": {"slow": {}, "noisy": {"method": {"name": "noisy"}}},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "jobs", "run", str(path), "--local", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and run.poll() is None and len(made(tmp_path / "out" / "slow")) < 4:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
    committed = {name: len(index_parts(tmp_path / "out" / name)) for name in tree["targets"]}
    assert 0 < committed["slow"] < 6
    assert 0 < committed["noisy"] < 6
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)["targets"]
    assert {name: each["this_run"]["shards"] for name, each in document.items()} == {
        name: 6 - number for name, number in committed.items()
    }
    wanted = separate(JobSpec.parse(tree), tmp_path / "alone")
    assert {name: made(tmp_path / "out" / name) for name in tree["targets"]} == wanted
