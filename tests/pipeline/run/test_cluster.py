"""Where Ray work goes: a Ray of our own, or the cluster that was asked for; and what fits there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.run.cluster import Capacity, Demand, Room, capacity, open_cluster
from tests.support.datasets import write_tars
from tests.support.jobs import job
from tests.support.ray_head import ray_head

MACHINE, CLUSTER = Room(4, 2, elastic=True), Room(4, 2, elastic=False)


@pytest.mark.parametrize(
    ("demand", "room", "workers"),
    [
        (Demand(None), MACHINE, (4, 4)),
        (Demand(None, cpus=2), MACHINE, (2, 2)),
        (Demand(None, beside=0.45), CLUSTER, (3, 3)),
        (Demand(None, gpus=1), MACHINE, (2, 2)),
        (Demand(None, gpus=0.5), CLUSTER, (4, 4)),
        (Demand((1, 3)), CLUSTER, (1, 3)),
        (Demand(None, cpus=8), MACHINE, (1, 1)),
    ],
)
def test_as_many_workers_as_there_is_room_for(demand, room, workers):
    found = capacity(demand, room)
    assert found.workers == workers
    assert found.fits or room is CLUSTER


@pytest.mark.parametrize(
    ("demand", "room", "words"),
    [
        (Demand((3, 3), gpus=1), MACHINE, "set compute.workers to 2"),
        (Demand((3, 3), gpus=1), CLUSTER, "set compute.workers to 2"),
        (Demand((1, 1), gpus=1), Room(4, 0, elastic=True), "set compute.gpus: 0"),
        (Demand((4, 4), beside=0.45), CLUSTER, "set compute.workers to 3"),
    ],
)
def test_what_cannot_be_scheduled_says_what_to_set(demand, room, words):
    found = capacity(demand, room)
    assert not found.fits
    assert words in (found.problem or "")


def test_more_workers_than_cores_only_take_turns():
    found = capacity(Demand((6, 6), threads=2), MACHINE)
    assert found.fits
    assert found.problem == "6 workers with 2 torch threads each take turns on 4 cores: 2 would be as fast"


def test_a_cluster_elsewhere_is_asked_later(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    assert "10.1.2.3" in capacity(Demand(None)).where
    assert capacity(Demand(None, address="local")) == capacity(Demand(None, address="local"), _here())
    monkeypatch.delenv("RAY_ADDRESS")
    assert isinstance(capacity(Demand((1, 1))), Capacity)
    assert Demand(None).joins is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "nothing answers there"),
        ("ray://127.0.0.1:9", "nothing answers there"),
        ("127.0.0.1:99999", "nothing answers there"),
        ("no-such-host.invalid:6379", "nothing answers there"),
        ("http://127.0.0.1:8265", "what `sceneshift submit` takes"),
    ],
)
def test_an_address_where_nobody_is_is_refused_at_once(address, words, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray tries for minutes"))
    with pytest.raises(InputError, match=words) as caught:
        open_cluster(Demand((1, 1), address=address))
    assert "\n" not in str(caught.value)


def test_what_a_process_does_on_sigterm_stays(monkeypatch):
    """Ray's own handler ends the process; a training would end without its checkpoint."""

    def init(**options):
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("Ray's handler"))

    def ours(number, frame):
        """Never called."""

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        open_cluster(Demand((1, 1))).close()
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_that_does_not_start_is_one_line(monkeypatch):
    def late(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", late)
    with pytest.raises(JobFailed, match=r"did not start .*timed out during startup.*`run --local`") as caught:
        open_cluster(Demand((1, 1)))
    assert "\n" not in str(caught.value)


def _here() -> Room:
    return Room(os.cpu_count() or 1, 0, elastic=True)


@pytest.mark.slow
def test_a_cluster_without_room_is_refused_in_one_line(ray_cluster):
    with pytest.raises(InputError, match=r"set compute\.workers to 3"):
        open_cluster(Demand((9, 9), beside=0.45))
    opened = open_cluster(Demand((2, 2), beside=0.45))
    opened.close()
    import ray

    assert ray.is_initialized(), "a connection that was there before was ended"


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_ray_that_runs_already_is_left_alone_or_joined_as_asked(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    spec = tmp_path / "job.yaml"
    with ray_head(cpus=2) as head:
        for out, more, environment, words in (
            ("own", {}, os.environ, "on a Ray of its own on this machine"),
            ("joined", {"address": head.gcs}, head.environment, f"on the Ray cluster {head.gcs}"),
        ):
            tree = job(tmp_path / "in", tmp_path / out, compute={"workers": 1, **more}).as_tree()
            spec.write_text(json.dumps(tree))
            done = subprocess.run(
                [sys.executable, "-m", "jobs", "run", spec],
                capture_output=True,
                text=True,
                env={name: value for name, value in environment.items() if name != "RAY_ADDRESS"},
                timeout=180,
            )
            assert done.returncode == 0, done.stderr
            assert words in done.stderr
            assert "Traceback" not in done.stderr
            assert "concurren" not in done.stderr
            assert "4 translated" in done.stdout
