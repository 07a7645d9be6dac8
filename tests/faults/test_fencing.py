"""One output, one writer: what a driver without the lock still does, nobody reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from methods.errors import InputError
from pipeline.errors import JobFailed
from pipeline.fence import FencedStore, Lease, LockLost
from pipeline.output.finalise import finalise
from pipeline.output.verify import verify
from pipeline.paths import JOB_FILE, LOCK_FILE
from pipeline.run import lock
from pipeline.run.driver import run_job
from pipeline.sink.commit import commit
from pipeline.sink.index import list_parts
from pipeline.storage import Store
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job


def removed(folder: Path) -> None:
    """Delete a folder that somebody still writes to."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def rewrite(path: Path, **changes) -> None:
    """In one step, as a store does it: a run that reads it at this moment must not find half a file."""
    whole = path.with_name(f"{path.name}.new")
    whole.write_text(json.dumps(json.loads(path.read_text()) | changes))
    os.replace(whole, path)


def taken_over(out: Path) -> None:
    """Another machine's driver has the lock now."""
    rewrite(out / LOCK_FILE, token="other", host="elsewhere", run="the-other", pid=7, beat=time.time())


@pytest.fixture
def slow(tmp_path):
    write_tars(tmp_path / "in", 2, 24)
    return job(tmp_path / "in", tmp_path / "out", method={"name": "trouble", "params": {"seconds": 0.02}})


def when_committed(shards: int, act):
    def watch(progress) -> None:
        if progress.shards == shards:
            act()

    return watch


def test_a_driver_whose_lock_was_taken_stops_and_writes_nothing_more(slow, tmp_path):
    out = tmp_path / "out"
    seen: dict[str, bytes] = {}

    def steal() -> None:
        taken_over(out)
        time.sleep(0.3)
        seen.update(read_tree(out, "data", "index"))

    with pytest.raises(JobFailed, match=r"run the-other on elsewhere \(pid 7\) has taken the lock over") as stopped:
        run_job(slow, local=True, watch=when_committed(2, steal))
    assert "\n" not in str(stopped.value)
    assert read_tree(out, "data", "index") == seen
    assert json.loads((out / LOCK_FILE).read_text())["token"] == "other"
    assert not (out / "index.parquet").exists()


def test_what_is_in_the_works_when_a_run_is_stopped_is_not_committed_beside_its_summaries(tmp_path, monkeypatch):
    write_tar(tmp_path / "in" / "a.tar", street_samples([f"raise-{n}" for n in range(12)]))
    spec = job(tmp_path / "in", tmp_path / "out", method__name="trouble", max_rejects=2, output__shard_size=3)
    begun, summarised, ended = threading.Event(), threading.Event(), threading.Event()

    def late_commit(*arguments):
        if not list_parts(Store(str(tmp_path / "out"))):
            return commit(*arguments)
        begun.set()
        assert summarised.wait(30)
        try:
            return commit(*arguments)
        finally:
            ended.set()

    def summary_first(*arguments, **options):
        found = finalise(*arguments, **options)
        summarised.set()
        assert ended.wait(30)
        return found

    def until_begun(progress) -> None:
        assert begun.wait(30)

    monkeypatch.setattr("pipeline.sink.commit.commit", late_commit)
    monkeypatch.setattr("pipeline.output.finalise.finalise", summary_first)
    stopped = run_job(spec, local=True, watch=until_begun)
    assert stopped.state == "too_many_rejects"
    assert stopped.summary.rows.rejected == len(index_rows(tmp_path / "out")) == 3
    assert len(list_parts(Store(str(tmp_path / "out")))) == 1
    assert not (tmp_path / "out" / LOCK_FILE).exists()
    monkeypatch.undo()
    assert run_job(spec.model_copy(update={"max_rejects": 12}), local=True).summary.rows.rejected == 12


@pytest.mark.parametrize("change", [{"fingerprint": "0123456789abcdef"}, {"generation": 2}])
def test_no_commit_under_another_job_s_record(slow, tmp_path, change):
    out = tmp_path / "out"
    with pytest.raises(JobFailed, match="another job has taken this output over"):
        run_job(slow, local=True, watch=when_committed(2, lambda: rewrite(out / JOB_FILE, **change)))
    assert not (out / "index.parquet").exists()


def test_an_output_deleted_while_it_is_written_is_said_and_the_rerun_works(slow, tmp_path):

    out = tmp_path / "out"
    with pytest.raises(JobFailed, match="deleted"):
        run_job(slow, local=True, watch=when_committed(2, lambda: removed(out)))
    # What a worker of the dead run brings back a moment later is no stranger.
    (out / "data").mkdir(parents=True, exist_ok=True)
    late = next(iter(read_tree(tmp_path / "in", ".")))
    assert late.endswith(".tar")
    outcome = run_job(slow, local=True)
    assert outcome.summary.rows.ok == 48
    assert verify(Store(str(out))).sound


def test_what_a_dead_run_brings_back_is_no_stranger(slow, tmp_path):

    out = tmp_path / "out"
    run_job(slow, local=True)
    names = sorted(read_tree(out, "data", "index"))
    shutil.rmtree(out / "_sceneshift")
    for name in ("index.parquet", "metrics.json", "README.md", "report/index.html"):
        (out / name).unlink()
    assert run_job(slow, local=True).progress.shards == 6
    assert sorted(read_tree(out, "data", "index")) == names


def test_fresh_begins_a_generation_of_its_own_and_a_late_write_of_the_old_one_is_not_read(tmp_path):
    write_tars(tmp_path / "in", 1, 12)
    out = tmp_path / "out"
    run_job(job(tmp_path / "in", out), local=True)
    old = read_tree(out, "data", "index")
    other = job(tmp_path / "in", out, seed=1, method__name="null")
    run_job(other, local=True, fresh=True)
    new = read_tree(out, "data", "index")
    assert not old.keys() & new.keys()
    assert json.loads((out / JOB_FILE).read_text())["generation"] == 2
    for name, data in old.items():
        (out / name).write_bytes(data)
    assert run_job(other, local=True).state == "nothing_to_do"
    (out / "_sceneshift" / "success.json").unlink()
    run_job(other, local=True)
    assert read_tree(out, "data", "index") == new
    assert {row["method"] for row in index_rows(out)} == {"null"}
    assert verify(Store(str(out))).sound


def test_fresh_of_the_same_job_gives_the_same_names_and_bytes(tmp_path):
    write_tars(tmp_path / "in", 1, 12)
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    before = read_tree(tmp_path / "out", "data", "index")
    run_job(spec, local=True, fresh=True)
    assert read_tree(tmp_path / "out", "data", "index") == before


def test_fresh_deletes_what_the_job_s_record_names_and_nothing_else(tmp_path):
    write_tars(tmp_path / "in", 1, 12)
    out = tmp_path / "out"
    run_job(job(tmp_path / "in", out), local=True)
    mine = {"data/mine.parquet": b"x", "index/notes.txt": b"y", "report/plot.png": b"z", "thesis.pdf": b"!"}
    mine["data/photos-0badcafe-0000.parquet"] = b"a name like ours, of no file of this source"
    for name, data in mine.items():
        (out / name).write_bytes(data)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep.parquet").write_bytes(b"k")
    (out / "data" / "link").symlink_to(elsewhere)
    run_job(job(tmp_path / "in", out, method__name="null"), local=True, fresh=True)
    assert {name: (out / name).read_bytes() for name in mine} == mine
    assert (elsewhere / "keep.parquet").read_bytes() == b"k"


def test_a_live_process_of_this_machine_is_never_stale_however_long_it_slept(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "out"))
    monkeypatch.setattr(lock, "BEAT_SECONDS", 1000.0)
    with lock.locked(store, "sleeper"):
        rewrite(tmp_path / "out" / LOCK_FILE, beat=time.time() - 10_000)
        with pytest.raises(InputError, match="is writing here"), lock.locked(store, "second"):
            pass
        held = json.loads((tmp_path / "out" / LOCK_FILE).read_text())
        assert lock.is_stale(held | {"started": "12345"}), "another process got the number"
        gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
        assert lock.is_stale(held | {"pid": int(gone.stdout)})
        assert lock.is_stale(held | {"host": "elsewhere"})
        assert not lock.is_stale(held | {"host": "elsewhere", "beat": time.time() - 60})


def test_the_heart_beat_never_writes_over_another_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    store, path = Store(str(tmp_path / "out")), tmp_path / "out" / LOCK_FILE
    with lock.locked(store, "first") as held:
        first = json.loads(path.read_text())["beat"]
        time.sleep(0.3)
        assert json.loads(path.read_text())["beat"] > first
        assert not held.lost.is_set()
        other = json.dumps({"token": "other", "host": "h", "pid": 1, "run": "r", "beat": time.time()}).encode()
        store.put(LOCK_FILE, other)
        assert held.lost.wait(5)
        time.sleep(0.2)
        assert path.read_bytes() == other
    assert path.read_bytes() == other


def test_a_lock_with_another_token_is_held_and_its_old_leases_are_worth_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    store, path = Store(str(tmp_path / "out")), tmp_path / "out" / LOCK_FILE
    store.put(JOB_FILE, b'{"fingerprint": "f"}')
    with lock.locked(store, "first") as held:
        old = Lease(held.token, "f", 1)
        old.check(store)
        held.renew()
        Lease(held.token, "f", 1).check(store)
        with pytest.raises(LockLost):
            old.check(store)
        time.sleep(0.2)
        assert not held.lost.is_set()
        store.put(LOCK_FILE, b'{"token": "other"}')
        held.renew()
        assert held.lost.is_set()
        assert path.read_bytes() == b'{"token": "other"}'
    assert path.exists()


def test_a_lost_answer_to_the_lock_s_put_does_not_lock_the_driver_out(tmp_path):
    class Forgetful(Store):
        def put_new(self, relative: str, data: bytes) -> bool:
            super().put_new(relative, data)
            return super().put_new(relative, data)

    store = Forgetful(str(tmp_path / "out"))
    with lock.locked(store, "mine") as held:
        assert json.loads((tmp_path / "out" / LOCK_FILE).read_text())["token"] == held.token
    assert not (tmp_path / "out" / LOCK_FILE).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"beat": "x"}', '{"beat": null, "pid": "p"}', "\xff"])
def test_a_damaged_lock_is_taken_over(tmp_path, text):
    store = Store(str(tmp_path / "out"))
    store.put(LOCK_FILE, text.encode("latin-1"))
    with lock.locked(store, "mine"):
        pass


def test_every_write_through_a_fenced_store_needs_the_lease(tmp_path):
    plain = Store(str(tmp_path / "out"))
    plain.put(LOCK_FILE, b'{"token": "t"}')
    plain.put(JOB_FILE, b'{"fingerprint": "f"}')
    good = FencedStore(plain.root, plain.options, Lease("t", "f", 1))
    good.put("index/a", b"1")
    for lease in (Lease("u", "f", 1), Lease("t", "g", 1), Lease("t", "f", 2)):
        store = FencedStore(plain.root, plain.options, lease)
        for write in (
            lambda store=store: store.put("index/b", b"2"),
            lambda store=store: store.put_new("index/b", b"2"),
            lambda store=store: store.delete("index/a"),
        ):
            with pytest.raises(LockLost):
                write()
    assert [entry.path for entry in plain.list("index")] == ["index/a"]
    assert os.listdir(tmp_path / "out" / "index") == ["a"]


def test_conditional_puts_on_s3(bucket):
    store = bucket.store("out")
    with lock.locked(store, "first") as held:
        held.renew()
        assert json.loads(store.read(LOCK_FILE))["token"] == held.token
        tag = store.tag(LOCK_FILE)
        assert tag
        assert store.put_if(LOCK_FILE, store.read(LOCK_FILE), tag)
        before = store.tag(LOCK_FILE)
        store.put(LOCK_FILE, b'{"token": "other"}')
        assert not store.put_if(LOCK_FILE, b"mine", before)
        assert store.read(LOCK_FILE) == b'{"token": "other"}'


def test_a_put_that_fails_after_the_lock_was_lost_says_that_the_lock_is_lost(tmp_path, monkeypatch):
    """The run that took over has cleaned up what was half written."""
    store = Store(str(tmp_path / "out"))
    store.put(LOCK_FILE, json.dumps({"token": "mine"}).encode())
    store.put(JOB_FILE, json.dumps({"fingerprint": "f", "generation": 1}).encode())
    fenced = FencedStore(store.root, store.options, Lease("mine", "f", 1))

    def taken_over(self, relative, data, *, replace):
        (tmp_path / "out" / LOCK_FILE).write_text(json.dumps({"token": "theirs", "run": "r", "host": "h", "pid": 1}))
        raise InputError("does not exist")

    monkeypatch.setattr(Store, "_put_local", taken_over)
    with pytest.raises(LockLost, match="has taken the lock over"):
        fenced.put("data/a", b"x")
