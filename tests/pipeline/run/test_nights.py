"""The same job night after night: only what is new is translated, what is gone is said, a window bounds the look."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.run import driver
from pipeline.run.driver import run_job
from pipeline.run.resolving import resolve
from pipeline.window import window_start
from tests.support.datasets import encoded, picture, street_samples, write_tar
from tests.support.jobs import index_rows, job

DAY = 86_400


def add_tar(folder: Path, name: str, *, days_old: float = 0) -> None:
    path = write_tar(folder / f"{name}.tar", street_samples([f"{name}-{n}" for n in range(5)]))
    moment = time.time() - days_old * DAY
    os.utime(path, (moment, moment))


def stamps(out: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for folder in ("data", "index") for path in (out / folder).iterdir()]
    return {path.name + path.parent.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.fixture
def no_ray(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(driver, "RayExecutor", refuse)


def test_three_nights_make_only_what_is_new(tmp_path, no_ray):
    spec = job(tmp_path / "in", tmp_path / "out", output__shard_size=2)
    add_tar(tmp_path / "in", "monday")
    assert run_job(spec, local=True).progress.shards == 3
    for night, name in enumerate(("tuesday", "wednesday"), start=2):
        before = stamps(tmp_path / "out")
        add_tar(tmp_path / "in", name)
        add_tar(tmp_path / "in", f"{name}-late")
        outcome = run_job(spec, local=True)
        assert outcome.progress.shards == 6
        after = stamps(tmp_path / "out")
        assert {name: after[name] for name in before} == before
        assert len(index_rows(tmp_path / "out")) == 5 + 10 * (night - 1)
        before = stamps(tmp_path / "out")
        # Without `local`: a run that has something to do would start Ray.
        assert run_job(spec).state == "nothing_to_do"
        assert stamps(tmp_path / "out") == before


def test_a_source_file_that_is_gone_is_said_and_its_shards_stay(tmp_path, no_ray):
    spec = job(tmp_path / "in", tmp_path / "out", output__shard_size=2)
    add_tar(tmp_path / "in", "kept")
    add_tar(tmp_path / "in", "dropped")
    assert run_job(spec, local=True).warnings == []
    before = stamps(tmp_path / "out")
    (tmp_path / "in" / "dropped.tar").unlink()
    nothing = run_job(spec)
    assert nothing.state == "nothing_to_do"
    (line,) = nothing.warnings
    assert "1 file of earlier runs" in line
    assert "dropped" in line
    assert stamps(tmp_path / "out") == before
    add_tar(tmp_path / "in", "new")
    (line,) = run_job(spec, local=True).warnings
    assert "dropped" in line
    assert len(index_rows(tmp_path / "out")) == 15
    # The plan has been written without the file since, its shards still are there.
    (line,) = run_job(spec).warnings
    assert "dropped" in line
    anew = run_job(spec, local=True, fresh=True)
    assert anew.warnings == []
    assert len(index_rows(tmp_path / "out")) == 10


def test_loose_images_that_are_gone_are_said(tmp_path, no_ray):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(encoded(picture(number)))
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    (tmp_path / "in" / "1.jpg").unlink()
    outcome = run_job(spec)
    assert outcome.state == "nothing_to_do"
    assert "1.jpg" in outcome.warnings[0]
    assert len(index_rows(tmp_path / "out")) == 3


def test_a_window_passes_over_old_files_and_keeps_what_was_made(tmp_path, no_ray):
    add_tar(tmp_path / "in", "old", days_old=10)
    whole = job(tmp_path / "in", tmp_path / "out", output__shard_size=2)
    run_job(whole, local=True)
    spec = job(tmp_path / "in", tmp_path / "out", output__shard_size=2, source__modified_after="2d")
    assert run_job(spec).state == "nothing_to_do"
    add_tar(tmp_path / "in", "new", days_old=1)
    add_tar(tmp_path / "in", "missed", days_old=5)
    outcome = run_job(spec, local=True)
    assert outcome.progress.shards == 3
    assert {row["key"].split("-")[0] for row in index_rows(tmp_path / "out")} == {"old", "new"}
    (missed,) = [each for each in outcome.findings if each.name == "age"]
    assert (missed.count, missed.examples) == (1, ("missed.tar",))
    # Later runs say so too, and know the files of all earlier runs: the same output without the window goes on.
    assert [each.count for each in run_job(spec).findings if each.name == "age"] == [1]
    assert run_job(whole, local=True).progress.shards == 3
    assert len(index_rows(tmp_path / "out")) == 15
    assert run_job(whole).state == "nothing_to_do"


def test_a_window_over_loose_images(tmp_path, no_ray):
    (tmp_path / "in").mkdir()
    for name, age in (("a", 9), ("b", 9), ("c", 0)):
        path = tmp_path / "in" / f"{name}.jpg"
        path.write_bytes(encoded(picture(ord(name))))
        then = time.time() - age * DAY
        os.utime(path, (then, then))
    spec = job(tmp_path / "in", tmp_path / "out", source__modified_after="1w")
    outcome = run_job(spec, local=True)
    assert [row["key"] for row in index_rows(tmp_path / "out")] == ["c"]
    assert [each.count for each in outcome.findings if each.name == "age"] == [2]


def test_a_first_run_whose_window_holds_nothing_is_one_line(tmp_path):
    add_tar(tmp_path / "in", "old", days_old=10)
    with pytest.raises(InputError, match=r"source\.modified_after \(1d\)"):
        resolve(job(tmp_path / "in", tmp_path / "out", source__modified_after="1d"))


def test_moments():
    assert window_start("36h", 1_000_000) == 1_000_000 - 36 * 3600
    assert window_start("2d", 1_000_000) == 1_000_000 - 2 * DAY
    assert window_start("2026-11-01", 0) == window_start("2026-11-01T00:00:00Z", 0) == 1793491200
    assert window_start("2026-11-01T02:00:00+02:00", 0) == 1793491200
    with pytest.raises(InputError, match="how long ago"):
        job("in", "out", source__modified_after="yesterday")


@given(st.text(max_size=30))
def test_a_moment_is_a_number_or_a_value_error(text):
    said = ""
    try:
        assert isinstance(window_start(text, 0.0), float | int)
    except ValueError as error:
        said = str(error)
    assert not said or "how long ago" in said
