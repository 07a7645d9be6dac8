"""Ray Jobs on a real head with token authentication: submit, list, read logs, stop, and go on after a stop."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.datasets import encoded, picture, read_tree, write_tar, write_tars
from tests.support.ray_head import RayHead, free_ports, ray_head

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
    first = head.cli("submit", path, "--wait", "--json")
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
    assert "sdk.py" not in first.stderr + log.stderr, "Ray's own client speaks"
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
    assert head.token_file.read_text() not in everything


@pytest.mark.long
def test_a_job_with_targets_is_submitted_and_gone_on_with_from_a_machine_that_joins(head, tmp_path):
    write_tars(tmp_path / "in", 2, 6)
    targets = {"plain": {}, "noise": {"method": {"name": "noisy"}}}
    sent = head.cli("submit", job_file(tmp_path, targets=targets), "--wait", "--json")
    assert sent.returncode == 0, sent.stderr
    for name in targets:
        assert f"Target {name}" in sent.stderr
        assert (tmp_path / "out" / name / "_sceneshift" / "success.json").exists()
    lost = sorted((tmp_path / "out" / "noise" / "index").iterdir())[0]
    lost.unlink()

    # another target, a shard that is gone, and the same cluster by its own address
    path = job_file(tmp_path, targets=targets | {"more": {"method": {"name": "noisy"}, "metrics": ["psnr"]}})
    joined = head.command("run", path, "--address", head.gcs, "--json")
    assert joined.returncode == 0, joined.stderr
    documents = json.loads(joined.stdout)["targets"]
    assert {name: each["state"] for name, each in documents.items()} == {
        "plain": "nothing_to_do",
        "noise": "done",
        "more": "done",
    }
    assert {name: each["this_run"]["shards"] for name, each in documents.items()} == {"plain": 0, "noise": 1, "more": 4}
    assert lost.exists()
    alone = job_file(tmp_path, method={"name": "noisy"}, output={"uri": str(tmp_path / "alone"), "shard_size": 4})
    assert head.command("run", alone, "--local").returncode == 0
    assert read_tree(tmp_path / "out" / "noise", "data", "index") == read_tree(tmp_path / "alone", "data", "index")


SAYS = (
    "api/jobs/",
    "api/v0/runtime_envs?detail=true",
    "api/v0/jobs?detail=true",
    "api/v0/actors?detail=true",
    "api/v0/tasks?detail=true",
    "api/v0/workers?detail=true",
    "logical/actors",
)
"""What the dashboard answers of jobs and of what they run."""


def test_secrets_of_every_route_reach_the_job_and_are_shown_nowhere(head, tmp_path):
    """Of the environment file, credentials and a profile; in a table, as user info and as the signature of a picture's
    address, which nobody can reach."""
    secret = secrets.token_hex(16)
    server = f"127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encoded(picture(1)))
    uris = ["a.jpg", f"http://me:{secret}@{server}/b.jpg", f"http://{server}/c.jpg?X-Amz-Signature={secret}"]
    (tmp_path / "in" / "list.csv").write_text("\n".join(["uri", *uris]))
    profile = f"[planted]\naws_access_key_id = AKIA\naws_secret_access_key = {secret}\n"
    (tmp_path / "credentials").write_text(profile)
    work = tmp_path / "work"
    work.mkdir()
    # Only the file of variables says where that is, to the driver of the job.
    source = {
        "uri": str(tmp_path / "in" / "list.csv"),
        "storage": {"profile": "planted", "key_env": "PLANTED", "secret_env": "PLANTED"},
    }
    path = job_file(tmp_path, source=source, output={"uri": "$PLACE/out"}, max_rejects=2).rename(work / "job.yaml")
    variables = {"PLACE": tmp_path, "PLANTED": secret, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ACCESS_KEY_ID": "AKIA"}
    variables["AWS_SHARED_CREDENTIALS_FILE"] = tmp_path / "credentials"
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    with CommandLines(secret) as seen:
        order = ("submit", path, "--wait", "--working-dir", work, "--env-file", tmp_path / "env")
        done = head.cli(*order, PLACE=str(tmp_path), AWS_SECRET_ACCESS_KEY=secret)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "_sceneshift" / "success.json").exists()
    assert seen.looks
    assert not seen.hits
    assert secret not in done.stdout + done.stderr
    bearer = {"Authorization": f"Bearer {head.token_file.read_text()}"}
    for place in SAYS:
        with urllib.request.urlopen(urllib.request.Request(f"{head.address}/{place}", headers=bearer)) as answer:
            said = answer.read().decode()
        assert ("sceneshift-environment.json" in said) or "jobs/" not in place
        assert secret not in said, place
    rows = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert sorted(str(row["error"]) for row in rows) == ["None", "unreachable", "unreachable"]
    assert secret not in str(rows)
    logs = [each for each in head.folder.glob("session_*/logs/**/*") if each.is_file()]
    assert any("runtime_env" in each.name for each in logs)
    shown = [each for each in (*logs, *(tmp_path / "out").rglob("*")) if each.is_file() and contains(each, secret)]
    assert shown == []


def contains(path: Path, text: str) -> bool:
    return text.encode() in path.read_bytes()


class CommandLines(threading.Thread):
    """Looks at the command lines of all processes, again and again, for a text."""

    def __init__(self, text: str) -> None:
        super().__init__(daemon=True)
        self.text, self.looks, self.hits, self.stop = text.encode(), 0, [], threading.Event()

    def __enter__(self) -> CommandLines:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.join()

    def run(self) -> None:
        while not self.stop.wait(0.3):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    if self.text in line:
                        self.hits.append(line)


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


@pytest.mark.long
def test_a_stopped_job_goes_on_when_submitted_again(head, tmp_path):
    write_tars(tmp_path / "in", 3, 8)
    slow = {"name": "sleeper", "params": {"seconds": 3.0}}
    path = job_file(tmp_path, method=slow, output={"uri": str(tmp_path / "out"), "shard_size": 2})
    out = tmp_path / "out"
    # A scheduler's way: whoever waits is ended, and ends the job.
    words = [sys.executable, "-m", "jobs", "submit", path, "--address", head.address, "--wait", "--stop-on-exit"]
    waiting = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=head.environment)
    wait_for_part(out, 1)
    assert "wait for it, or" in one_line(head.cli("submit", path))
    waiting.send_signal(signal.SIGTERM)
    _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 130, said
    assert "stopping try-" in said
    before = parts(out)
    assert 0 < before < 12
    id_ = json.loads(head.cli("submit", path, "--json").stdout)["id"]
    assert id_.endswith("-2")
    wait_for_part(out, before + 1)
    stopped = head.cli("stop", id_)
    assert stopped.returncode == 0, stopped.stderr
    assert before < parts(out) < 12
    assert "interrupted" in head.command("status", out).stdout
    last = head.cli("submit", path, "--wait")
    assert last.returncode == 0, last.stderr
    assert (parts(out), (out / "_sceneshift" / "success.json").exists()) == (12, True)


def parts(out: Path) -> int:
    return len(list((out / "index").glob("[!.]*")))


def wait_for_part(out: Path, number: int) -> None:
    until = time.monotonic() + 120
    while parts(out) < number and time.monotonic() < until:
        time.sleep(0.5)
