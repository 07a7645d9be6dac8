"""Ray Jobs on a real head with token authentication: submit, list, read logs, stop, and go on after a stop."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.datasets import write_tar, write_tars
from tests.support.ray_head import RayHead, ray_head

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as found:
        yield found


def job_file(tmp_path: Path, **changes) -> Path:
    tree = {
        "name": "try",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "invert"},
        "output": {"uri": str(tmp_path / "out"), "shard_size": 4},
        "metrics": [],
        "compute": {"workers": 1},
        **changes,
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def scraped(head: RayHead) -> dict[tuple[str, ...], float]:
    """What the cluster's own exporter says of us: (metric, own labels in order) and value."""
    with urllib.request.urlopen(head.metrics, timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_sceneshift_")]
    found = {}
    for line in lines:
        own = re.findall(r'(?<=[{,])(job|method|status|reason|stage|direction|place)="([^"]*)"', line)
        found[line.split("{")[0], *(f"{name}={value}" for name, value in sorted(own))] = float(line.split()[-1])
    return found


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_submitted_job_is_done_and_done_again_it_finds_nothing_to_do(head, tmp_path):
    write_tars(tmp_path / "in", 2, 6)
    write_tar(tmp_path / "in" / "part-99.tar", {"bad": {"jpg": b"no picture"}})
    path = job_file(tmp_path, max_rejects=1)
    (tmp_path / "env").write_text("PLANTED=planted-secret\n")
    first = head.cli("submit", path, "--wait", "--json", "--env-file", tmp_path / "env")
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert result["status"] == "SUCCEEDED"
    assert result["id"].startswith("try-")
    assert result["id"].endswith("-1")
    assert (tmp_path / "out" / "_sceneshift" / "success.json").exists()

    counted = scraped(head)
    rows = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    for status in ("ok", "rejected"):
        number = sum(row["status"] == status for row in rows)
        assert counted["ray_sceneshift_images_total", "job=try", "method=invert", f"status={status}"] == number > 0
    assert counted["ray_sceneshift_shards_total", "job=try", "method=invert"] == 5
    assert counted["ray_sceneshift_rejects_total", "job=try", "method=invert", "reason=not_an_image"] == 1
    for stage in ("read", "translate", "device", "write"):
        assert counted["ray_sceneshift_stage_seconds_total", "job=try", "method=invert", f"stage={stage}"] > 0
    written = sum(p.stat().st_size for folder in ("data", "index") for p in (tmp_path / "out" / folder).iterdir())
    assert counted["ray_sceneshift_bytes_total", "direction=out", "job=try", "method=invert"] == written
    assert 0 <= counted["ray_sceneshift_device_busy_share", "job=try", "method=invert"] <= 1
    assert not [label for key in counted for label in key if str(tmp_path) in label or "://" in label]

    log = head.cli("logs", result["id"])
    assert "Done: 12 translated" in log.stdout
    second = head.cli("submit", path, "--wait")
    assert second.returncode == 0, second.stderr
    assert "Nothing to do" in second.stderr

    listed = json.loads(head.cli("jobs", "--json").stdout)
    assert [(each["id"][-2:], each["status"], each["exit_code"]) for each in listed] == [
        ("-1", "SUCCEEDED", 0),
        ("-2", "SUCCEEDED", 0),
    ]
    everything = "".join(each.stdout + each.stderr for each in (first, second, log))
    everything += "".join(p.read_text(errors="ignore") for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert "planted-secret" not in everything
    assert head.token_file.read_text() not in everything


def test_no_token_and_a_wrong_one_are_one_line(head, tmp_path):
    path = job_file(tmp_path)
    none = {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN_PATH": None, "HOME": str(tmp_path)}
    assert "RAY_AUTH_TOKEN_PATH" in one_line(head.cli("submit", path, **none))
    (tmp_path / "wrong").write_text(secrets.token_hex(32))
    wrong = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}
    assert "RAY_AUTH_TOKEN_PATH" in one_line(head.cli("submit", path, **wrong))
    assert "RAY_AUTH_TOKEN_PATH" in one_line(head.cli("jobs", **wrong))
    write_tars(tmp_path / "in", 1, 2)
    for environment in (none, wrong):
        done = head.command("run", path, "--address", head.gcs, "--quiet", **environment)
        assert "RAY_AUTH_TOKEN_PATH" in one_line(done)
    missing = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "missing")}
    assert "RAY_AUTH_TOKEN_PATH" in one_line(head.cli("submit", path, **missing))


def test_a_wrong_job_has_its_exit_code_and_an_unknown_id_is_one_line(head, tmp_path):
    done = head.cli("submit", job_file(tmp_path), "--wait")
    assert done.returncode == 2, done.stderr
    assert str(tmp_path / "in") in done.stderr
    assert "no job 'other' was submitted there" in one_line(head.cli("logs", "other"))


def test_a_stopped_job_goes_on_when_submitted_again(head, tmp_path):
    write_tars(tmp_path / "in", 3, 8)
    slow = {"name": "sleeper", "params": {"seconds": 3.0}}
    path = job_file(tmp_path, method=slow, output={"uri": str(tmp_path / "out"), "shard_size": 2})
    id_ = json.loads(head.cli("submit", path, "--json").stdout)["id"]
    index = tmp_path / "out" / "index"
    until = time.monotonic() + 60
    while not (index.exists() and any(index.iterdir())) and time.monotonic() < until:
        time.sleep(0.5)
    assert "wait for it, or" in one_line(head.cli("submit", path))
    stopped = head.cli("stop", id_)
    assert stopped.returncode == 0, stopped.stderr
    before = len(list(index.iterdir()))
    assert 0 < before < 12
    assert (
        "interrupted"
        in subprocess.run(
            [sys.executable, "-m", "jobs", "status", str(tmp_path / "out")], capture_output=True, text=True
        ).stdout
    )
