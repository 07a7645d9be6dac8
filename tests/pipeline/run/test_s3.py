"""The whole job on a real S3 server: source, output, lock, resume, and what goes wrong with stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiobotocore.session
import pytest
import yaml

from deploy.local_s3 import free_ports
from jobs.cli import main
from methods.errors import InputError
from pipeline import storage
from pipeline.output.summary import RowCounts
from pipeline.paths import LOCK_FILE
from pipeline.plan import committed_parts
from pipeline.run import driver as run
from pipeline.run.driver import run_job
from pipeline.run.lock import locked
from pipeline.spec import JobSpec
from tests.support.datasets import street_samples, write_parquet, write_tar, write_tars
from tests.support.seaweed import KEY_ENV, SECRET_ENV, Bucket

SCENESHIFT = str(Path(sys.executable).with_name("sceneshift"))
FILES, SAMPLES = 2, 12
SHARDS = 4


def upload(folder: Path, bucket: Bucket, prefix: str) -> None:
    store = bucket.store(prefix)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(str(path.relative_to(folder)), path.read_bytes())


def tree(bucket: Bucket, out: str = "out", source: str = "in", **more: Any) -> dict[str, Any]:
    return {
        "name": "on-s3",
        "source": {"uri": f"{bucket.uri}/{source}", "storage": bucket.storage},
        "method": {"name": "invert"},
        "output": {"uri": f"{bucket.uri}/{out}", "storage": bucket.storage},
        "metrics": ["psnr"],
        **more,
    }


def dataset(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """What must be the same in every run: data and index, not timings."""
    return {name: data for name, data in objects.items() if name.startswith(("data/", "index"))}


@pytest.fixture
def filled(bucket: Bucket, tmp_path: Path) -> Bucket:
    """A bucket with tars under ``in``."""
    write_tars(tmp_path / "in", FILES, SAMPLES)
    upload(tmp_path / "in", bucket, "in")
    return bucket


def make_source(kind: str, folder: Path, bucket: Bucket) -> str:
    """Upload a source of one format; returns what to give as its name below the bucket."""
    samples = street_samples([f"n{n:02d}" for n in range(10)])
    if kind == "webdataset":
        write_tars(folder / "in", 1, 10)
    elif kind == "parquet":
        write_parquet(folder / "in" / "a.parquet", samples)
    else:
        (folder / "in").mkdir()
        for name, members in samples.items():
            for suffix, data in members.items():
                (folder / "in" / f"{name}.{suffix}").write_bytes(data)
    if kind == "manifest":
        rows = [f"{bucket.uri}/in/{name}.jpg,{name}" for name in samples]
        (folder / "in" / "list.csv").write_text("\n".join(["uri,key", *rows]))
    upload(folder / "in", bucket, "in")
    return "in/list.csv" if kind == "manifest" else "in"


@pytest.mark.parametrize(
    ("kind", "format"),
    [("webdataset", "webdataset"), ("parquet", "parquet"), ("folder", "webdataset"), ("manifest", "parquet")],
)
def test_from_bucket_to_bucket(bucket, tmp_path, kind, format):
    source = make_source(kind, tmp_path, bucket)
    spec = tree(bucket, source=source)
    spec["output"]["format"] = format
    outcome = run_job(JobSpec.parse(spec), local=True)
    assert outcome.state == "done"
    assert outcome.summary.rows == RowCounts(10, 10, 0, 0)
    names = set(bucket.objects("out"))
    assert {"README.md", "index.parquet", "metrics.json", "report/index.html", "_sceneshift/success.json"} <= names
    parts = {name.removeprefix("index/").removesuffix(".parquet") for name in names if name.startswith("index/")}
    ending = "tar" if format == "webdataset" else "parquet"
    assert {f"data/{part}.{ending}" for part in parts} == {name for name in names if name.startswith("data/")}
    assert LOCK_FILE not in names


@pytest.mark.slow
def test_ray_writes_the_same_objects_as_a_plain_loop_and_a_finished_job_is_left_alone(filled, ray_cluster):
    on_ray = JobSpec.parse(tree(filled, "on-ray", compute={"workers": 2}))
    outcome = run_job(on_ray)
    assert outcome.summary.rows.ok == FILES * SAMPLES
    run_job(JobSpec.parse(tree(filled, "plain")), local=True)
    assert dataset(filled.objects("on-ray")) == dataset(filled.objects("plain"))
    before = filled.objects("on-ray")
    assert run_job(on_ray).state == "nothing_to_do"
    assert filled.objects("on-ray") == before


def test_a_run_that_stops_half_way_is_taken_up_where_it_stopped(filled):
    spec = tree(filled, method={"name": "trouble", "params": {"seconds": 0.05}})
    spec["output"]["shard_size"] = 3

    def stop_after_three(progress) -> None:
        if progress.shards == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(JobSpec.parse(spec), local=True, watch=stop_after_three)
    for thread in threading.enumerate():
        if thread.name == "graph":
            thread.join()
    half = filled.objects("out")
    committed = sum(name.startswith("index/") for name in half)
    assert 3 <= committed < 8
    assert LOCK_FILE not in half
    assert "_sceneshift/success.json" not in half
    again = run_job(JobSpec.parse(spec), local=True)
    assert (again.progress.before, again.progress.shards) == (committed, 8 - committed)
    spec["output"]["uri"] = f"{filled.uri}/straight"
    run_job(JobSpec.parse(spec), local=True)
    assert dataset(filled.objects("out")) == dataset(filled.objects("straight"))


def test_a_driver_killed_dead_is_followed_by_one_that_does_the_rest(filled, tmp_path):
    # The first sample of the last tar takes the process down, once.
    samples = street_samples(["die", *(f"late-{n}" for n in range(7))])
    filled.store("in").put("part-99.tar", write_tar(tmp_path / "late.tar", samples).read_bytes())
    (tmp_path / "once").mkdir()
    spec = tree(filled, method={"name": "trouble", "params": {"once": str(tmp_path / "once")}})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(spec))
    killed = subprocess.run([SCENESHIFT, "run", "--local", str(path)], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    left = filled.objects("out")
    committed = sum(name.startswith("index/") for name in left)
    # the shard before may still have been on its way to the store
    assert committed in (SHARDS - 1, SHARDS)
    assert LOCK_FILE in left
    outcome = run_job(JobSpec.parse(spec), local=True)
    assert (outcome.progress.before, outcome.progress.shards) == (committed, SHARDS + 1 - committed)
    assert outcome.summary.rows.ok == FILES * SAMPLES + len(samples)
    assert outcome.summary.duplicate_keys == 0
    now = filled.objects("out")
    assert {name: now[name] for name in dataset(left)} == dataset(left)


def test_a_shard_whose_index_part_is_missing_is_made_again(filled):
    spec = JobSpec.parse(tree(filled))
    run_job(spec, local=True)
    whole = filled.objects("out")
    lost = sorted(name for name in whole if name.startswith("index/"))[1]
    for name in (lost, "_sceneshift/success.json"):
        filled.store("out").delete(name)
    assert run_job(spec, local=True).progress.shards == 1
    assert dataset(filled.objects("out")) == dataset(whole)


def test_of_many_writers_of_a_new_object_one_wins(bucket):
    store = bucket.store("out")
    store.put("first", b"the server takes its time for the first object of a bucket")
    start = threading.Barrier(8)

    def put(number: int) -> bool:
        start.wait()
        return store.put_new("lock", f"writer {number}".encode())

    for turn in range(3):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(8)))
        assert sum(won) == 1, f"turn {turn}: {won}"
        assert store.read("lock") == f"writer {won.index(True)}".encode()
        store.delete("lock")


def test_two_drivers_on_one_output(filled):
    store = filled.store("out")
    with locked(store, "the-first"), pytest.raises(InputError, match=r"run the-first on .* is writing here"):
        run_job(JobSpec.parse(tree(filled)), local=True)
    assert filled.objects("out") == {}
    # A driver of this machine that is no longer alive has left this.
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    with locked(store, "the-dead"):
        held = json.loads(store.read(LOCK_FILE))
    store.put(LOCK_FILE, json.dumps(held | {"pid": int(gone.stdout)}).encode())
    assert run_job(JobSpec.parse(tree(filled)), local=True).state == "done"
    assert not store.exists(LOCK_FILE)


def test_listing_goes_on_beyond_one_page(bucket):
    store = bucket.store("out")
    names = [f"index/file-{n // 3:04d}-{n % 3:04d}.parquet" for n in range(1203)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    store.put("indexes/other", b"x")
    assert [entry.path for entry in store.list("index")] == names
    parts = committed_parts(store)
    assert len(parts) == 401
    assert all(found == {0, 1, 2} for found in parts.values())
    store.delete("indexes/other")
    assert store.list("indexes") == []


def test_one_client_serves_the_whole_process(filled, monkeypatch):
    made: list[str] = []
    create = aiobotocore.session.AioSession._create_client

    def counted(self: Any, service: str, *args: Any, **keyword: Any) -> Any:
        made.append(service)
        return create(self, service, *args, **keyword)

    monkeypatch.setattr(aiobotocore.session.AioSession, "_create_client", counted)
    monkeypatch.setattr(storage, "_filesystems", {})
    run_job(JobSpec.parse(tree(filled)), local=True)
    assert made == ["s3"]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command line on a job that cannot work; gives the one line it says."""

    def run_it(spec: dict[str, Any], *options: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(spec))
        monkeypatch.setattr(sys, "argv", ["sceneshift", "run", *options, str(path)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capfd.readouterr()
        assert stopped.value.code == 2, said.err
        assert said.out == ""
        # said every ten seconds until something is finished: a store that is slow to refuse takes longer
        lines = [line for line in said.err.splitlines() if line != "sceneshift: starting workers"]
        assert len(lines) == 1, said.err
        assert os.environ[SECRET_ENV] not in said.err
        return lines[0]

    return run_it


def with_storage(spec: dict[str, Any], storage: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "source": {**spec["source"], "storage": storage}, "output": {**spec["output"], "storage": storage}}


WRONG = {
    "secret": "s3://test-.*: access denied .*; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or `storage:",
    "key": "s3://test-.*: access denied .*; check AWS_ACCESS_KEY_ID",
    "none": "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "endpoint": "the endpoint does not answer",
    "address": "Invalid endpoint: .*; write it as http://host:port",
    "profile": r"The config profile \(nobody\) could not be found",
}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_store_that_cannot_be_reached_is_one_line(filled, failing, tmp_path, monkeypatch, what):
    monkeypatch.setenv("WRONG_SECRET", "xyzzy/wrong+secret")
    monkeypatch.setenv("WRONG_KEY", "AKIAWRONG")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    right = filled.storage
    wrong = {
        "secret": {**right, "secret_env": "WRONG_SECRET"},
        "key": {**right, "key_env": "WRONG_KEY"},
        "none": {"endpoint_url": right["endpoint_url"]},
        "endpoint": {**right, "endpoint_url": f"http://127.0.0.1:{free_ports(1)[0]}"},
        "address": {**right, "endpoint_url": "127.0.0.1:80"},
        "profile": {"endpoint_url": right["endpoint_url"], "profile": "nobody"},
    }[what]
    line = failing(with_storage(tree(filled), wrong), "--local")
    assert re.search(WRONG[what], line), line
    assert "xyzzy" not in line
    assert "AKIAWRONG" not in line
    assert filled.objects("out") == {}


def test_places_that_are_not_there_are_one_line(filled, failing):
    def source(uri: str) -> dict[str, Any]:
        spec = tree(filled)
        return {**spec, "source": {**spec["source"], "uri": uri}}

    line = failing(source("s3://no-such-bucket/*.tar"), "--local")
    assert "s3://no-such-bucket/*.tar: bucket does not exist" in line
    line = failing(source("s3://no-such-bucket/a.tar"), "--local")
    assert "s3://no-such-bucket/a.tar: bucket does not exist" in line
    line = failing(source(f"{filled.uri}/in/*.tgz"), "--local")
    assert f"{filled.uri}/in/*.tgz: the pattern matches no file" in line
    line = failing(source(f"{filled.uri}/nothing"), "--local")
    assert f"{filled.uri}/nothing: does not exist" in line
    labels = source(f"{filled.uri}/in")
    labels["source"]["labels"] = {"uri": f"{filled.uri}/labels.json"}
    line = failing(labels, "--local")
    assert f"{filled.uri}/labels.json: does not exist" in line
    assert filled.objects("out") == {}


def test_an_output_bucket_that_is_not_there_is_said_before_anything_starts(filled, failing, monkeypatch):
    monkeypatch.setattr(run, "RayExecutor", lambda job: pytest.fail("Ray was started"))
    spec = tree(filled)
    spec["output"] = {**spec["output"], "uri": "s3://no-such-bucket/out"}
    assert "s3://no-such-bucket/out: bucket does not exist" in failing(spec)


def test_the_usual_variables_are_enough(filled, tmp_path, monkeypatch):
    spec = with_storage(tree(filled), {})
    for name, value in filled.server.environment().items():
        monkeypatch.setenv(name, value)
    # The client of these variables must not outlive them in this process.
    monkeypatch.setattr(storage, "_filesystems", {})
    outcome = run_job(JobSpec.parse(spec), local=True)
    assert outcome.summary.rows.ok == FILES * SAMPLES
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "xyzzy")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**spec, "name": "again"}))
    refused = subprocess.run([SCENESHIFT, "run", "--local", str(path)], capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert "access denied" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "xyzzy" not in refused.stderr


def test_no_secret_is_written(filled):
    run_job(JobSpec.parse(tree(filled)), local=True)
    secrets = [os.environ[SECRET_ENV].encode(), os.environ[KEY_ENV].encode()]
    for name, data in filled.objects("out").items():
        assert not any(secret in data for secret in secrets), name
