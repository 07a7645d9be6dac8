"""Summaries of an index that is too large to merge say what those of a small one say, and no old merged index stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output import gathering
from pipeline.output.finalise import finalise
from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.run.refilter import refilter
from pipeline.storage import Store
from tests.support.datasets import write_tar, write_tars
from tests.support.jobs import index_rows, job


@pytest.fixture
def made(tmp_path: Path) -> Job:
    """17 samples in seven shards, two of them rejected, with a metric."""
    write_tars(tmp_path / "in", 3, 5)
    write_tar(tmp_path / "in" / "odd.tar", {"z0": {"jpg": b"no picture"}, "z1": {"jpg": b""}})
    run_job(job(tmp_path / "in", tmp_path / "out", metrics=["psnr"], output__shard_size=3), local=True)
    store = Store(str(tmp_path / "out"))
    record = stored_job(store)
    assert record is not None
    return Job.from_record(record, store)


def metrics(made: Job) -> dict[str, Any]:
    return json.loads(made.store.read("metrics.json"))


@pytest.mark.parametrize("limit", ["MERGE_ROWS", "MERGE_BYTES"])
@pytest.mark.parametrize("filtered", [False, True])
def test_beyond_a_limit_the_parts_are_the_index(made: Job, monkeypatch, limit: str, filtered: bool) -> None:
    if filtered:
        values = sorted(row["metric.psnr"] for row in index_rows(Path(made.store.path())) if row["status"] == "ok")
        refilter(made, f"psnr > {values[4]}")
    small = metrics(made)
    assert small["duplicate_keys"] == 0
    monkeypatch.setattr(gathering, limit, 7)
    finalise(made, complete=True)
    assert not made.store.exists("index.parquet")
    assert metrics(made) == small | {"duplicate_keys": None}
    verdict = verify(made.store)
    assert verdict.sound, verdict.problems
    assert "too large" in made.store.read("README.md").decode()
    monkeypatch.undo()
    finalise(made, complete=True)
    assert metrics(made) == small
    assert verify(made.store).sound


def test_values_that_are_no_numbers_are_counted(made: Job) -> None:
    """The index holds them as nulls: without a target there is no distance to one."""
    columns = metrics(made)["columns"]
    assert (columns["psnr"]["count"], columns["psnr"]["nan_count"]) == (15, 0)
    assert (columns["psnr_target"]["count"], columns["psnr_target"]["nan_count"]) == (0, 15)


def test_tables_are_joined_without_a_change_of_order(made: Job, monkeypatch) -> None:
    rows = index_rows(Path(made.store.path()))
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    monkeypatch.setattr(gathering, "_TOGETHER", 2)
    finalise(made, complete=True)
    assert index_rows(Path(made.store.path())) == rows
