"""What a plan says of time and money: unknown without figures, else from a calibration or from earlier runs."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app
from pipeline.devices import recognised
from pipeline.run.calibrate import calibrate
from pipeline.run.driver import run_job
from pipeline.run.estimate import estimate
from pipeline.run.resolving import resolve
from pipeline.run.throughput import Throughput
from tests.support.datasets import read_tree, write_tar, write_tars
from tests.support.jobs import job

SECONDS = 0.2


def sleeper(tmp_path, **changes):
    method = {"name": "sleeper", "params": {"seconds": SECONDS}}
    return job(tmp_path / "in", tmp_path / "out", method=method, output__shard_size=8, **changes)


def planned(tmp_path, *more: str) -> dict:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(sleeper(tmp_path).as_tree()))
    done = CliRunner().invoke(app, ["plan", str(path), "--json", *more])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def row(worker: str, started: float, committed: float, images: int, **more) -> dict:
    counts = {"ok": images, "filtered": 0, "rejected": 0, "bytes_out": 100 * images, "device_seconds": 1.0}
    return {"run": "r", "worker": worker, "started": started, "committed": committed, **counts, **more}


def test_figures_of_a_run_are_per_worker():
    rows = [row("a", 0, 10, 40), row("a", 10, 20, 40), row("b", 5, 15, 40, read_seconds=3.0, write_seconds=6.0)]
    speed = Throughput.of(rows, "there")
    assert speed is not None
    assert speed.worker_seconds == 30
    assert speed.images_per_second == 4
    assert speed.bytes_per_image == 100
    assert speed.device_share == pytest.approx(0.1)
    assert speed.fed_by_one_reader == 10
    assert speed.emptied_by_one_writer == 5
    old = Throughput.of([row("a", 0, 10, 40, read_seconds=None)], "an older version")
    assert old is not None
    assert old.fed_by_one_reader is None
    assert Throughput.of([], "nowhere") is None
    assert Throughput.of([row("a", 0, 10, 0)], "nothing attempted") is None


def test_time_and_money_of_what_is_left(tmp_path):
    write_tars(tmp_path / "in", 4, 16)
    found, plan = resolve(sleeper(tmp_path))
    speed = Throughput(100, 50.0, 40.0, 5.0, 5.0, 200_000, "there")
    guess = estimate(found, plan, 4, speed, price_per_hour=36.0)
    assert guess.rows_left == 64
    assert guess.seconds == pytest.approx(64 / (2 * 4))
    assert guess.device_hours == pytest.approx(4 * 8 / 3600)
    assert guess.price == pytest.approx(4 * 8 / 100)
    assert guess.bytes_out == 64 * 2000
    # There are eight shards: a worker without one has nothing to do, and is paid all the same.
    many = estimate(found, plan, 16, speed)
    assert many.seconds == pytest.approx(64 / (2 * 8))
    assert many.device_hours == pytest.approx(16 * 4 / 3600)
    assert many.price is None
    unknown = estimate(found, plan, 4, price_per_hour=36.0).as_tree()
    assert [unknown[name] for name in ("seconds", "device_hours", "price", "bytes_out")] == [None] * 4


def test_a_calibration_measures_and_leaves_nothing(tmp_path):
    write_tars(tmp_path / "in", 2, 16)
    found, plan = resolve(sleeper(tmp_path))
    speed = calibrate(found, plan, 16)
    assert speed.images == 16
    # Two batches of eight, each of which sleeps: no worker is faster than that.
    assert speed.device_seconds >= 2 * SECONDS
    assert speed.images_per_second <= 8 / SECONDS
    assert speed.bytes_out > 0
    assert not (tmp_path / "out").exists()


def test_the_plan_says_unknown_then_what_it_measured_then_what_a_run_took(tmp_path):
    write_tars(tmp_path / "in", 1, 16)
    assert planned(tmp_path)["seconds"] is None
    shown = CliRunner().invoke(app, ["plan", str(tmp_path / "job.yaml")]).output
    assert "unknown before a first run" in shown
    assert "0 s" not in shown
    measured = planned(tmp_path, "--calibrate", "8", "--price-per-hour", "2.5")
    assert measured["seconds"] > 0
    assert measured["price"] == pytest.approx(measured["device_hours"] * 2.5)
    assert "on this machine" in measured["speed_from"]
    first = run_job(sleeper(tmp_path), local=True)
    assert first.estimated is not None
    assert first.estimated.seconds is None
    before = read_tree(tmp_path / "out", "data", "index", "_sceneshift")
    again = planned(tmp_path)
    assert (again["rows_left"], again["seconds"]) == (0, 0)
    write_tar(tmp_path / "in" / "more.tar", {})
    write_tars(tmp_path / "in" / "later", 1, 8)
    more = planned(tmp_path)
    assert more["rows_left"] == 8
    assert 0 < more["seconds"] < 60
    assert more["speed_from"] == "earlier runs of this output"
    assert read_tree(tmp_path / "out", "data", "index", "_sceneshift") == before
    second = run_job(sleeper(tmp_path), local=True)
    assert second.estimated is not None
    assert second.estimated.speed is not None
    assert second.estimated.speed.images_per_second == pytest.approx(more["images_per_second_per_worker"])
    # The plan was for as many workers as this machine has cores; a local run is one.
    assert second.estimated.seconds == pytest.approx(8 / second.estimated.speed.images_per_second)


def test_another_output_tells_the_speed(tmp_path):
    write_tars(tmp_path / "in", 1, 8)
    run_job(sleeper(tmp_path, output__uri=str(tmp_path / "other")), local=True)
    assert planned(tmp_path, "--like", str(tmp_path / "other"))["seconds"] > 0
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "job.yaml"), "--like", str(tmp_path / "in")])
    assert done.exit_code == 2


def test_what_a_device_could_do(tmp_path):
    write_tars(tmp_path / "in", 1, 6)
    path = tmp_path / "job.yaml"
    method = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
    path.write_text(yaml.safe_dump(job(tmp_path / "in", tmp_path / "out", method=method).as_tree()))
    done = CliRunner().invoke(app, ["plan", str(path), "--json", "--calibrate", "4", "--on", "h100"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert 0 < found["tflop_per_image"] < 0.1
    assert found["ceiling"] == pytest.approx(67 / found["tflop_per_image"])
    refused = CliRunner().invoke(app, ["plan", str(path), "--on", "H10", "--calibrate", "4"])
    assert refused.exit_code == 2
    assert "did you mean 'H100'?" in refused.stderr
    assert CliRunner().invoke(app, ["plan", str(path), "--on", "H100"]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("GeForce GTX 1080", None),
    ],
)
def test_a_device_is_known_by_its_driver_s_name(name, device):
    found = recognised(name)
    assert (found and found.name) == device
