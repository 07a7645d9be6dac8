"""A local run in several processes: the bytes of one process, also when one of them, or their driver, is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from methods.errors import InputError
from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.run.progress import Progress
from pipeline.storage import Store
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job

ROOT = Path(__file__).parents[2]


def children(of: int) -> list[int]:
    """Process ids of the children that work for a process, by what they were started with."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == of and b"spawn_main" in command:
            found.append(int(entry))
    return found


def test_a_killed_process_leaves_the_bytes_of_a_run_in_one(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 6, 6)
    changes = {"method__name": "trouble", "output__shard_size": 2}
    run_job(job(tmp_path / "in", tmp_path / "one", **changes), local=True)
    killed: list[int] = []

    def watch(progress: Progress) -> None:
        if progress.shards == 2 and not killed:
            killed.append(min(children(os.getpid())))
            os.kill(killed[0], signal.SIGKILL)

    slow = {**changes, "method__params": {"seconds": 0.2}}
    spec = job(tmp_path / "in", tmp_path / "two", **slow)
    outcome = run_job(spec, local=True, processes=2, watch=watch)
    assert killed
    assert outcome.state == "done"
    assert not children(os.getpid())
    assert verify(Store(str(tmp_path / "two"))).sound
    run_job(job(tmp_path / "in", tmp_path / "three", **slow), local=True)
    assert read_tree(tmp_path / "two", "data", "index") == read_tree(tmp_path / "three", "data", "index")
    assert (tmp_path / "two" / "metrics.json").read_bytes() == (tmp_path / "three" / "metrics.json").read_bytes()


def test_what_a_worker_killed_in_the_middle_of_a_put_leaves_is_removed_by_the_same_run(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 2, 4)
    left: list[Path] = []

    def watch(progress: Progress) -> None:
        if not left:
            part = next((tmp_path / "out" / "index").glob("part-*.parquet"))
            left.extend(tmp_path / "out" / folder / f".partial-{part.name}-0123abcd" for folder in ("data", "index"))
            for each in left:
                each.write_bytes(b"PAR1")

    assert run_job(job(tmp_path / "in", tmp_path / "out"), local=True, watch=watch).state == "done"
    assert left
    assert not any(each.exists() for each in left)


def test_a_sample_that_kills_its_process_becomes_a_rejected_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", street_samples([f"a{n}" for n in range(4)]))
    write_tar(tmp_path / "in" / "b.tar", street_samples(["b1", "die-1", "b2"]))
    said: list[str] = []
    spec = job(tmp_path / "in", tmp_path / "out", method__name="trouble")
    outcome = run_job(spec, local=True, processes=2, say=said.append)
    assert outcome.state == "done"
    assert outcome.progress.losses.crashes >= 2
    assert [line for line in said if "1 culprit found" in line]
    bad = {row["key"]: row["error"] for row in index_rows(tmp_path / "out") if row["status"] != "ok"}
    assert bad == {"die-1": "killed_worker"}
    assert len(index_rows(tmp_path / "out")) == 7


def test_its_processes_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 4, 6)
    spec = job(tmp_path / "in", tmp_path / "out", method__name="trouble", method__params={"seconds": 0.3})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "jobs", "run", str(tmp_path / "job.yaml"), "--local", "--workers", "2"]
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    # Its progress is read, so that it does not wait for a reader.
    threading.Thread(target=driver.communicate, daemon=True).start()
    until = time.monotonic() + 60
    while not list((tmp_path / "out").glob("index/*.parquet")) and time.monotonic() < until:
        time.sleep(0.05)
    workers = children(driver.pid)
    assert len(workers) == 2
    driver.kill()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{each}").exists() for each in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{each}").exists() for each in workers)
    assert run_job(spec, local=True, processes=2, steal_lock=True).state == "done"
    run_job(job(tmp_path / "in", tmp_path / "one", method__name="trouble", method__params={"seconds": 0.3}), local=True)
    assert read_tree(tmp_path / "out", "data", "index") == read_tree(tmp_path / "one", "data", "index")


def test_what_cannot_work_is_said_before_anything_is_written(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 2, 2)
    spec = job(
        tmp_path / "in", tmp_path / "out", method={"name": "cyclegan_turbo", "weights": str(tmp_path / "no.pkl")}
    )
    with pytest.raises(InputError, match=r"no\.pkl"):
        run_job(spec, local=True, processes=2)
    assert not (tmp_path / "out").exists()
    assert not children(os.getpid())
    with pytest.raises(InputError, match=r"compute\.workers"):
        run_job(job(tmp_path / "in", tmp_path / "out"), processes=2)


def test_no_process_is_started_that_would_find_nothing_to_do(tmp_path: Path) -> None:
    write_tars(tmp_path / "in", 2, 2)
    said: list[str] = []
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True, processes=5, say=said.append)
    assert said == [
        "5 processes are more than there are source files to do: 2 work",
        "working in 2 processes of this machine",
    ]
    write_tar(tmp_path / "in" / "z.tar", street_samples(["z"]))
    said.clear()
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True, processes=5, say=said.append)
    assert said[-1] == "working in this process"
