"""A job in parts, one process each and no Ray: the bytes of one run, also when parts are killed; one lock per part."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from methods.errors import InputError
from pipeline.fence import Lease, LockLost
from pipeline.output.verify import verify
from pipeline.paths import PART_LOCKS, SUCCESS_FILE
from pipeline.run.driver import run_job
from pipeline.run.lock import Busy, locked
from pipeline.run.parts import Part, at_work
from pipeline.run.resolving import resolve
from pipeline.storage import Store
from tests.support.datasets import encoded, index_parts, picture, read_tree, write_tar, write_tars
from tests.support.jobs import index_rows, job


@pytest.fixture
def source(tmp_path) -> Path:
    write_tars(tmp_path / "in", 8, 6)
    return tmp_path / "in"


def test_every_source_file_is_in_one_part_and_stays_there():
    names = [f"part-{number:03d}.tar" for number in range(200)]
    for count in (1, 2, 3, 7):
        owners = [[part for part in range(1, count + 1) if Part(part, count).has(name)] for name in names]
        assert all(len(each) == 1 for each in owners)
        assert {each[0] for each in owners} == set(range(1, count + 1))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_a_part_that_is_none_is_one_line(text):
    with pytest.raises(InputError, match="number/count"):
        Part.parse(text)


def test_three_parts_one_after_the_other_give_the_bytes_of_one_run(tmp_path, source):
    run_job(job(source, tmp_path / "whole", output__shard_size=4), local=True)
    spec = job(source, tmp_path / "parts", output__shard_size=4)
    states = []
    for number in (2, 3, 1):
        outcome = run_job(spec, local=True, part=Part(number, 3))
        states.append(outcome.state)
        assert (tmp_path / "parts" / SUCCESS_FILE).exists() == (outcome.state == "done")
    assert states == ["part_done", "part_done", "done"]
    assert read_tree(tmp_path / "parts", "data", "index") == read_tree(tmp_path / "whole", "data", "index")
    assert (tmp_path / "parts" / "index.parquet").read_bytes() == (tmp_path / "whole" / "index.parquet").read_bytes()
    assert (tmp_path / "parts" / "metrics.json").read_bytes() == (tmp_path / "whole" / "metrics.json").read_bytes()
    assert verify(Store(str(tmp_path / "parts"))).sound
    assert not (tmp_path / "parts" / PART_LOCKS).exists()
    assert run_job(spec, local=True, part=Part(3, 3)).state == "nothing_to_do"
    assert run_job(spec, local=True).state == "nothing_to_do"
    # The next night: one new file is one part's, and the others leave it alone.
    write_tar(source / "z-new.tar", {"new": {"jpg": encoded(picture(1))}})
    mine = next(number for number in (1, 2, 3) if Part(number, 3).has("z-new.tar"))
    other = next(number for number in (1, 2, 3) if number != mine)
    assert run_job(spec, local=True, part=Part(other, 3)).state == "part_done"
    assert run_job(spec, local=True, part=Part(mine, 3)).progress.shards == 1
    assert len(index_rows(tmp_path / "parts")) == 49


def test_loose_images_in_parts(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / "in" / f"{number:02d}.jpg").write_bytes(encoded(picture(number)))
    run_job(job(tmp_path / "in", tmp_path / "whole", output__shard_size=4), local=True)
    spec = job(tmp_path / "in", tmp_path / "parts", output__shard_size=4)
    run_job(spec, local=True, part=Part(1, 2))
    # What comes while the parts are at work is a group of its own and renames no other.
    late = tmp_path / "in" / "00b.jpg"
    late.write_bytes(encoded(picture(77)))
    run_job(spec, local=True, part=Part(2, 2))
    run_job(spec, local=True, part=Part(1, 2))
    whole, parts = (read_tree(tmp_path / name, "data", "index") for name in ("whole", "parts"))
    assert {name: parts[name] for name in whole} == whole
    assert len(index_rows(tmp_path / "parts")) == 21
    assert (tmp_path / "parts" / SUCCESS_FILE).exists()


def test_a_changed_file_of_another_part_is_left_to_that_part(tmp_path, source):
    spec = job(source, tmp_path / "out", output__shard_size=4, max_rejects=10)
    run_job(spec, local=True)
    changed = sorted(source.glob("*.tar"))[0]
    write_tar(changed, {f"again{n}": {"jpg": b"no picture"} for n in range(3)})
    mine = next(number for number in (1, 2) if Part(number, 2).has(changed.name))
    before = read_tree(tmp_path / "out", "data", "index")
    assert run_job(spec, local=True, part=Part(3 - mine, 2)).state == "part_done"
    assert read_tree(tmp_path / "out", "data", "index") == before
    assert run_job(spec, local=True, part=Part(mine, 2)).state == "done"
    assert {row["status"] for row in index_rows(tmp_path / "out") if row["key"].startswith("again")} == {"rejected"}


def test_who_may_work_beside_whom(tmp_path, source):
    spec = job(source, tmp_path / "out")
    store = Store(str(tmp_path / "out"))
    with Part(1, 3).locked(store, "one", steal=False) as held:
        assert [(str(part), lock["run"]) for part, lock in at_work(store)] == [("1/3", "one")]
        with pytest.raises(Busy, match="part 1/3"):
            run_job(spec, local=True, part=Part(1, 3))
        with pytest.raises(Busy, match="part 1/3"):
            run_job(spec, local=True)
        with pytest.raises(Busy, match="one number of parts"):
            run_job(spec, local=True, part=Part(1, 4))
        assert run_job(spec, local=True, part=Part(2, 3)).state == "part_done"
        assert run_job(spec, local=True, steal_lock=True).state == "done"
        # Who was robbed writes nothing more.
        found, _ = resolve(spec)
        robbed = replace(found, lease=Lease(held.token, found.fingerprint, found.generation, held.path))
        with pytest.raises(LockLost):
            robbed.store.put("index/x.parquet", b"")
    new = next(f"new{number}.tar" for number in range(99) if Part(1, 3).has(f"new{number}.tar"))
    write_tar(source / new, {"new": {"jpg": encoded(picture(1))}})
    with locked(store, "whole"), pytest.raises(Busy, match="run whole"):
        run_job(spec, local=True, part=Part(1, 3), steal_lock=True)


def test_a_part_needs_local_and_begins_nothing_anew(tmp_path, source):
    spec = job(source, tmp_path / "out")
    with pytest.raises(InputError, match="--local"):
        run_job(spec, part=Part(1, 2))
    with pytest.raises(InputError, match="--fresh"):
        run_job(spec, local=True, part=Part(1, 2), fresh=True)
    assert not (tmp_path / "out").exists()
    run_job(job(source, tmp_path / "out", seed=1), local=True, part=Part(1, 2))
    with pytest.raises(InputError, match="another job"):
        run_job(spec, local=True, part=Part(2, 2))


def start(spec: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "run", "--local", str(spec), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_parts_at_once_some_of_them_killed_give_the_bytes_of_one_run(tmp_path, source):
    tree = {
        "source": {"uri": str(source)},
        "method": {"name": "trouble", "params": {"seconds": 0.2}},
        "output": {"uri": str(tmp_path / "parts"), "shard_size": 2, "image": {"format": "png"}},
        "metrics": [],
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    parts = [start(path, "--part", f"{number}/3") for number in (1, 2, 3)]
    index = tmp_path / "parts" / "index"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(index_parts(index.parent)) < 3:
        time.sleep(0.02)
    for each in parts[:2]:
        # Not waited for until the end: what is left of them in the process table holds no lock.
        each.send_signal(signal.SIGKILL)
    _, said = parts[2].communicate(timeout=200)
    assert parts[2].returncode == 0, said
    before = {entry.name: entry.stat().st_mtime_ns for entry in index.glob("[!.]*")}
    assert not (tmp_path / "parts" / SUCCESS_FILE).exists()
    again = [start(path, "--part", f"{number}/3", "--json") for number in (1, 2)]
    made = 0
    for each in again:
        said, error = each.communicate(timeout=200)
        assert each.returncode == 0, error
        made += json.loads(said)["this_run"]["shards"]
    after = {entry.name: entry.stat().st_mtime_ns for entry in index.glob("[!.]*")}
    assert {name: after[name] for name in before} == before
    assert made == len(after) - len(before)
    assert (tmp_path / "parts" / SUCCESS_FILE).exists()
    whole = job(source, tmp_path / "whole", method=tree["method"], output__shard_size=2)
    run_job(whole, local=True)
    assert read_tree(tmp_path / "parts", "data", "index") == read_tree(tmp_path / "whole", "data", "index")


@pytest.mark.slow
def test_finalise_summarises_what_the_last_part_could_not(tmp_path, source):
    spec = job(source, tmp_path / "out")
    run_job(spec, local=True, part=Part(1, 2))

    def finalise() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs", "finalise", str(tmp_path / "out"), "--json"]
        return subprocess.run(command, capture_output=True, text=True, timeout=200)

    early = json.loads(finalise().stdout)
    assert early["unfinished_files"] > 0
    assert not (tmp_path / "out" / SUCCESS_FILE).exists()
    run_job(spec, local=True, part=Part(2, 2))
    (tmp_path / "out" / SUCCESS_FILE).unlink()
    (tmp_path / "out" / "metrics.json").unlink()
    done = finalise()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "output": str(tmp_path / "out"),
        "rows": {"attempted": 48, "ok": 48, "filtered": 0, "rejected": 0},
        "unfinished_files": 0,
    }
    assert (tmp_path / "out" / SUCCESS_FILE).exists()
    assert run_job(spec, local=True).state == "nothing_to_do"


def test_what_killed_processes_left_behind_is_removed_by_whose_it_was(tmp_path, source):
    spec = job(source, tmp_path / "out", output__shard_size=4)
    run_job(spec, local=True, part=Part(1, 2))
    found, plan = resolve(spec)
    left = {}
    for number in (1, 2):
        stem = Part(number, 2).of(plan).files[0].file.shard_stem
        left[number] = [
            tmp_path / "out" / "data" / f".partial-{stem}-0007.parquet-0123abcd",
            tmp_path / "out" / "images" / f"{stem}-0007" / ".partial-key.png-0123abcd",
        ]
    foreign = tmp_path / "out" / "data" / ".partial-mine.txt-0123abcd"
    for path in [*left[1], *left[2], foreign]:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"half")
    assert not [entry for entry in found.store.list() if "0123abcd" in entry.path]
    run_job(spec, local=True, part=Part(2, 2))
    assert [path.exists() for path in (*left[1], *left[2], foreign)] == [True, True, False, False, True]
