"""Nodes of a Ray cluster that go away in the middle: the bytes of an undisturbed run, or one line and exit code 3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import index_parts, read_tree, write_tars
from tests.support.ray_nodes import RayNodes

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


def job_file(folder: Path, out: str, **compute: object) -> Path:
    path = folder / f"{out}.yaml"
    tree = {
        "source": {"uri": str(folder / "in")},
        "method": {"name": "trouble", "params": {"seconds": 0.4}},
        "output": {"uri": str(folder / out), "shard_size": 4, "image": {"format": "png"}},
        "metrics": [],
        "compute": compute,
    }
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A source of 40 shards, and what an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("nodes")
    write_tars(folder / "in", 5, 32)
    run_job(JobSpec.load(job_file(folder, "calm")), local=True)
    return folder, read_tree(folder / "calm", "data", "index")


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    with RayNodes() as found:
        yield found


def start(spec: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "run", str(spec), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_parts(out: Path, driver: subprocess.Popen[str], parts: int) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and driver.poll() is None and len(index_parts(out)) < parts:
        time.sleep(0.05)
    assert driver.poll() is None, driver.communicate()[1]


def test_a_node_killed_and_another_joining_change_no_byte(calm, nodes):
    folder, wanted = calm
    # The head has no room for a worker: all of them are on nodes that may go away.
    nodes.start(cpus=1)
    second = nodes.start(cpus=3)
    spec = job_file(folder, "lost-node", workers=[1, 2], cpus=1.5, address=nodes.address)
    driver = start(spec, "--json")
    wait_for_parts(folder / "lost-node", driver, 4)
    nodes.kill(second)
    nodes.start(cpus=3)
    said, problems = driver.communicate(timeout=400)
    assert driver.returncode == 0, problems
    assert read_tree(folder / "lost-node", "data", "index") == wanted
    run = json.loads(said)["this_run"]
    assert run["workers_preempted"] >= 1
    assert run["workers_crashed"] == 0
    assert "searching" not in problems


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_private_ray_that_loses_its_heart_ends_in_one_line(calm, name):
    folder, wanted = calm
    spec = job_file(folder, f"no-{name}", workers=1)
    driver = start(spec, "-q")
    wait_for_parts(folder / f"no-{name}", driver, 2)
    os.kill(process_of(driver.pid, name), signal.SIGKILL)
    _, problems = driver.communicate(timeout=200)
    assert driver.returncode == 3, problems
    (line,) = problems.strip().splitlines()
    assert "run the job again" in line or "Run the job again" in line
    again = start(spec, "-q", "--local")
    _, problems = again.communicate(timeout=300)
    assert again.returncode == 0, problems
    assert read_tree(folder / f"no-{name}", "data", "index") == wanted


def process_of(ancestor: int, name: str) -> int:
    """The process of this name among the descendants of another one."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            names[int(entry.name)] = text[text.index("(") + 1 : text.rindex(")")]
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    waiting = [ancestor]
    while waiting:
        pid = waiting.pop()
        if names.get(pid, "") == name:
            return pid
        waiting += children.get(pid, [])
    raise AssertionError(f"no {name} below {ancestor}")


def test_a_head_that_is_killed_ends_the_run_in_one_line_and_a_new_one_finishes_it(calm, nodes):
    folder, wanted = calm
    head = nodes.start(cpus=3)
    spec = job_file(folder, "lost-head", workers=1, address=nodes.address)
    driver = start(spec, "-q")
    wait_for_parts(folder / "lost-head", driver, 2)
    nodes.kill(head)
    said, problems = driver.communicate(timeout=300)
    assert driver.returncode == 3, said + problems
    assert len(problems.strip().splitlines()) == 1, problems
    out = str(folder / "lost-head")
    for words, expected in ((("status", out), "interrupted, run it again"), (("logs", out), "source files")):
        done = subprocess.run([sys.executable, "-m", "jobs", *words], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
        assert expected in done.stdout
    with RayNodes() as fresh:
        fresh.start(cpus=3)
        again = start(job_file(folder, "lost-head", workers=1, address=fresh.address), "-q")
        _, problems = again.communicate(timeout=300)
    assert again.returncode == 0, problems
    assert read_tree(folder / "lost-head", "data", "index") == wanted


@pytest.mark.parametrize("stage", ["_TranslateStage", "_read_stage", "_write_stage"])
def test_a_reader_writer_or_actor_killed_changes_no_byte(calm, stage):
    folder, wanted = calm
    spec = job_file(folder, f"killed{stage}", workers=2)
    driver = start(spec, "-q")
    if stage != "_read_stage":
        # Readers have read everything by the time that the first shards are translated.
        wait_for_parts(folder / f"killed{stage}", driver, 3)
    killed = 0
    deadline = time.monotonic() + 120
    while not killed and time.monotonic() < deadline and driver.poll() is None:
        for pid in workers(stage):
            os.kill(pid, signal.SIGKILL)
            killed += 1
        time.sleep(0.02)
    _, problems = driver.communicate(timeout=300)
    assert driver.returncode == 0, problems
    assert killed, f"no {stage} was met at work"
    assert read_tree(folder / f"killed{stage}", "data", "index") == wanted


def workers(stage: str) -> list[int]:
    """Ray's processes that are at work on a stage right now, by the title that Ray gives them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::") and stage.encode() in title:
                found.append(int(entry.name))
    return found


def test_an_actor_that_is_stopped_for_a_while_changes_no_byte(calm):
    folder, wanted = calm
    driver = start(job_file(folder, "stopped", workers=2), "-q")
    wait_for_parts(folder / "stopped", driver, 3)
    pid = workers("_TranslateStage")[0]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(15)
    os.kill(pid, signal.SIGCONT)
    _, problems = driver.communicate(timeout=300)
    assert driver.returncode == 0, problems
    assert read_tree(folder / "stopped", "data", "index") == wanted
