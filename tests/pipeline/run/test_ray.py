"""The same job through Ray: the same bytes whatever happens to its processes."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from methods.errors import InputError
from pipeline.run.driver import run_job
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.slow, pytest.mark.timeout(420)]


def test_worker_count_and_ray_itself_change_no_byte(tmp_path):
    write_tars(tmp_path / "in", 3, 13)
    run_job(job(tmp_path / "in", tmp_path / "local", method__name="noisy"), local=True)
    expected = read_tree(tmp_path / "local", "data", "index")
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        outcome = run_job(job(tmp_path / "in", out, method__name="noisy", compute__workers=workers))
        assert outcome.progress.ok == 39
        assert read_tree(out, "data", "index") == expected


def test_an_actor_killed_at_work_loses_and_doubles_nothing(tmp_path):
    write_tars(tmp_path / "in", 4, 16)
    run_job(job(tmp_path / "in", tmp_path / "calm", method__name="trouble"), local=True)
    killed: list[int] = []

    def kill_the_first_worker(progress) -> None:
        if not killed and progress.shards >= 1:
            killed.append(0)
            for pid in worker_processes():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break

    spec = job(
        tmp_path / "in", tmp_path / "out", method__name="trouble", method__params={"seconds": 0.3}, compute__workers=2
    )
    outcome = run_job(spec, watch=kill_the_first_worker)
    assert len(killed) == 2, "no worker was found to be killed"
    assert outcome.state == "done"
    rows = index_rows(tmp_path / "out")
    assert len(rows) == len({row["key"] for row in rows}) == 64
    # The pictures are the same; only the parameter `seconds` differs between the two jobs.
    assert read_tree(tmp_path / "out", "data") == read_tree(tmp_path / "calm", "data")


def worker_processes() -> list[int]:
    """Processes of this machine that run the translate stage."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                name = file.read()
        except (OSError, NotADirectoryError):
            continue
        if b"ray::" in name and b"_TranslateStage" in name:
            found.append(int(entry))
    return found


def test_poison_that_kills_its_process_becomes_a_rejected_row(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples([f"a{n}" for n in range(10)]))
    names = [f"b{n}" for n in range(6)] + ["die-1", "b7"]
    write_tar(tmp_path / "in" / "b.tar", street_samples(names))
    spec = job(tmp_path / "in", tmp_path / "out", method__name="trouble", compute__workers=1)
    said: list[str] = []
    outcome = run_job(spec, say=said.append)
    assert outcome.state == "done"
    # Each death of its process is counted, and only what was in hand then is searched.
    assert outcome.progress.losses.crashes >= 2
    assert outcome.progress.losses.preemptions == 0
    searched = [line for line in said if line.startswith("searching")]
    assert "1 culprit found" in searched[-1]
    assert "searching 3 shards" not in searched[-1]
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    assert len(rows) == 18
    bad = {key: (row["stage"], row["error"]) for key, row in rows.items() if row["status"] != "ok"}
    assert bad == {"die-1": ("translate", "killed_worker")}


@pytest.mark.long
def test_a_process_that_dies_once_is_simply_tried_again(tmp_path):
    (tmp_path / "marks").mkdir()
    write_tar(tmp_path / "in" / "a.tar", street_samples(["a", "die-once", "b"]))
    params = {"once": str(tmp_path / "marks")}
    run_job(job(tmp_path / "in", tmp_path / "out", method__name="trouble", method__params=params, compute__workers=1))
    assert [row["status"] for row in index_rows(tmp_path / "out")] == ["ok"] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [({"compute__workers": 9}, "compute.workers to"), ({"compute__gpus": 1, "compute__workers": 1}, "has 0 GPUs")],
)
def test_what_the_cluster_cannot_hold_is_said_before_anything_is_written(tmp_path, change, words):
    write_tars(tmp_path / "in", 1, 3)
    with pytest.raises(InputError, match=words):
        run_job(job(tmp_path / "in", tmp_path / "out", **change))
    assert not (tmp_path / "out").exists()


def test_two_drivers_at_once(tmp_path):
    write_tars(tmp_path / "in", 2, 8)
    spec = job(
        tmp_path / "in", tmp_path / "out", method__name="trouble", method__params={"seconds": 0.5}, compute__workers=1
    )
    outcomes: list[object] = []

    def drive() -> None:
        try:
            outcomes.append(run_job(spec, local=True).state)
        except InputError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # the other one meets the lock, or finds that it was beaten to it
    assert sorted(isinstance(outcome, InputError) for outcome in outcomes) == [False, True]
    assert len(index_rows(tmp_path / "out")) == 16
