"""Source files that are incomplete for a moment, change, or vanish: redone and said, never "nothing to do"."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from pipeline.output.verify import verify
from pipeline.run import steps
from pipeline.run.driver import run_job
from pipeline.sources import versions
from pipeline.sources.versions import version_now
from pipeline.storage import Store
from tests.support.datasets import encoded, picture, read_tree, street_samples, write_parquet, write_tar, write_tars
from tests.support.jobs import index_rows, job


def ok(out) -> int:
    return sum(row["status"] == "ok" for row in index_rows(out))


def test_a_file_that_changed_without_changing_its_size_is_made_anew(tmp_path):
    write_tars(tmp_path / "in", 2, 10)
    spec, out = job(tmp_path / "in", tmp_path / "out"), tmp_path / "out"
    run_job(spec, local=True)
    before = read_tree(out, "data")
    assert run_job(spec, local=True).state == "nothing_to_do"
    path = tmp_path / "in" / "part-00.tar"
    data = bytearray(path.read_bytes())
    place = data.find(b"a street called")
    data[place : place + 8] = b"A STREET"
    path.write_bytes(data)
    outcome = run_job(spec, local=True)
    assert (outcome.state, outcome.progress.shards) == ("done", 2)
    assert any("part-00.tar" in warning and "made anew" in warning for warning in outcome.warnings)
    changed = {name for name, data in read_tree(out, "data").items() if before[name] != data}
    assert len(changed) == 1
    assert verify(Store(str(out))).sound
    assert run_job(spec, local=True).state == "nothing_to_do"


def test_a_file_that_shrinks_leaves_no_shard_behind(tmp_path):
    write_tars(tmp_path / "in", 2, 24)
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    write_tar(tmp_path / "in" / "part-01.tar", street_samples(["x", "y"]))
    run_job(spec, local=True)
    assert ok(tmp_path / "out") == 26
    assert verify(Store(str(tmp_path / "out"))).sound


@pytest.mark.parametrize("same_time", [False, True])
def test_an_archive_that_was_half_there_is_read_again_when_it_is_whole(tmp_path, same_time):
    write_tars(tmp_path / "in", 2, 10)
    path = tmp_path / "in" / "part-01.tar"
    whole, spec = path.read_bytes(), job(tmp_path / "in", tmp_path / "out")
    path.write_bytes(whole[: len(whole) // 2])
    times = path.stat()
    run_job(spec, local=True)
    assert ok(tmp_path / "out") < 20
    path.write_bytes(whole)
    if same_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    run_job(spec, local=True)
    assert ok(tmp_path / "out") == 20
    assert verify(Store(str(tmp_path / "out"))).sound


def test_a_file_that_changes_while_it_is_read_is_planned_anew(tmp_path):
    # Reading is some shards ahead of the one that is committed.
    write_tars(tmp_path / "in", 2, 64)
    spec = job(tmp_path / "in", tmp_path / "out", method={"name": "trouble", "params": {"seconds": 0.02}})

    def watch(progress) -> None:
        if progress.shards == 1:
            write_tar(tmp_path / "in" / "part-00.tar", street_samples([f"n{n}" for n in range(9)]))
            write_tar(tmp_path / "in" / "part-01.tar", street_samples([f"m{n}" for n in range(17)]))

    outcome = run_job(spec, local=True, watch=watch)
    assert outcome.state == "done"
    keys = {row["key"] for row in index_rows(tmp_path / "out")}
    assert keys == {f"n{n}" for n in range(9)} | {f"m{n}" for n in range(17)}
    assert verify(Store(str(tmp_path / "out"))).sound
    assert run_job(spec, local=True).state == "nothing_to_do"


def test_one_wrong_answer_about_a_version_costs_nothing(tmp_path, monkeypatch):
    write_tars(tmp_path / "in", 2, 24)
    spec = job(tmp_path / "in", tmp_path / "out")
    asked: Counter[str] = Counter()

    def sometimes_wrong(file, storage) -> str:
        asked[file.uri] += 1
        return "other" if asked[file.uri] % 3 == 0 else version_now(file, storage)

    for module in (versions, steps):
        monkeypatch.setattr(module, "version_now", sometimes_wrong)
    outcome = run_job(spec, local=True)
    assert (outcome.state, outcome.progress.shards) == ("done", 6)
    for _ in range(6):
        assert run_job(spec, local=True).state == "nothing_to_do"
    assert min(asked.values()) > 6


def test_a_file_that_vanishes_while_others_are_read_is_left_out(tmp_path):
    write_tars(tmp_path / "in", 2, 24)
    spec = job(tmp_path / "in", tmp_path / "out", method={"name": "trouble", "params": {"seconds": 0.02}})

    def watch(progress) -> None:
        if progress.shards == 1:
            (tmp_path / "in" / "part-01.tar").unlink()

    assert run_job(spec, local=True, watch=watch).state == "done"
    assert ok(tmp_path / "out") == 24


def test_a_loose_image_that_changed_is_translated_again_and_one_that_is_gone_stays(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(4):
        (tmp_path / "in" / f"{n}.png").write_bytes(encoded(picture(n), "PNG"))
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    before = {row["key"]: row["sha256"] for row in index_rows(tmp_path / "out")}
    (tmp_path / "in" / "0.png").unlink()
    assert run_job(spec, local=True).state == "nothing_to_do"
    (tmp_path / "in" / "1.png").write_bytes(encoded(picture(99), "PNG"))
    run_job(spec, local=True)
    after = {row["key"]: row["sha256"] for row in index_rows(tmp_path / "out") if row["status"] == "ok"}
    assert after["1"] != before["1"]
    assert after["2"] == before["2"]


def test_a_parquet_file_that_changed_is_made_anew(tmp_path):
    write_parquet(tmp_path / "in" / "a.parquet", street_samples([f"n{n}" for n in range(10)]))
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    write_parquet(tmp_path / "in" / "a.parquet", street_samples([f"m{n}" for n in range(10)]))
    run_job(spec, local=True)
    assert {row["key"] for row in index_rows(tmp_path / "out")} == {f"m{n}" for n in range(10)}


def test_on_s3_a_replaced_object_is_made_anew(bucket, tmp_path):
    store = bucket.store("in")
    for number in range(2):
        path = write_tar(tmp_path / "a.tar", street_samples([f"{number}{n}" for n in range(4)]))
        store.put("a.tar", path.read_bytes())
        spec = job(
            f"{bucket.uri}/in", f"{bucket.uri}/out", source__storage=bucket.storage, output__storage=bucket.storage
        )
        assert run_job(spec, local=True).state == "done"
        assert run_job(spec, local=True).state == "nothing_to_do"
