"""A filter after the job: index and summaries change, data and commits stay, and it can be taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from methods.errors import InputError
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.output.verify import verify
from pipeline.run import refilter as room
from pipeline.run.driver import run_job
from pipeline.run.lock import Busy, locked
from pipeline.run.refilter import refilter
from pipeline.storage import Store
from tests.support.datasets import read_tree, write_tars
from tests.support.jobs import index_rows, job


def made(tmp_path: Path, **changes: Any) -> tuple[Path, Job]:
    write_tars(tmp_path / "in", 2, 6)
    run_job(job(tmp_path / "in", tmp_path / "out", metrics=["psnr"], **changes), local=True)
    store = Store(str(tmp_path / "out"))
    record = stored_job(store)
    assert record is not None
    return tmp_path / "out", Job.from_record(record, store)


def middle(out: Path) -> float:
    values = sorted(row["metric.psnr"] for row in index_rows(out))
    return (values[5] + values[6]) / 2


@pytest.mark.parametrize("format", ["parquet", "webdataset", "files"])
def test_the_data_stays_and_the_filter_can_be_taken_back(tmp_path, format):
    out, ready = made(tmp_path, output__format=format)
    before = read_tree(out, "data", "index")
    index, metrics = (out / "index.parquet").read_bytes(), (out / "metrics.json").read_bytes()
    keep = f"psnr > {middle(out)}"
    summary = refilter(ready, keep)
    assert (summary.rows.ok, summary.rows.filtered, summary.rows.attempted) == (6, 6, 12)
    assert read_tree(out, "data", "index") == before
    for row in index_rows(out):
        assert (row["status"] == "ok") == (row["metric.psnr"] > middle(out))
        if row["status"] == "filtered":
            assert (row["stage"], row["error"]) == ("keep", "filtered_later")
            assert row["sha256"]
    assert summary.columns["psnr"].count == 6
    assert verify(ready.store).sound
    page = (out / "report" / "index.html").read_text()
    assert "Filtered after the job by: psnr &gt;" in page
    assert "filtered after the job" in (out / "README.md").read_text()
    exported = export_folder(ready, Store(str(tmp_path / "coco")), ExportOptions("coco"))
    assert exported.pictures == 6
    # a run has nothing to do, and new data is seen through the filter too
    spec = job(tmp_path / "in", out, metrics=["psnr"], output__format=format)
    assert run_job(spec, local=True).state == "nothing_to_do"
    assert refilter(ready, None).rows.ok == 12
    assert ((out / "index.parquet").read_bytes(), (out / "metrics.json").read_bytes()) == (index, metrics)
    assert verify(ready.store).sound


def test_new_data_is_seen_through_the_filter(tmp_path):
    out, ready = made(tmp_path)
    refilter(ready, "psnr > 1000")
    write_tars(tmp_path / "in", 3, 6)
    outcome = run_job(job(tmp_path / "in", out, metrics=["psnr"]), local=True)
    assert (outcome.summary.rows.ok, outcome.summary.rows.filtered) == (0, 18)
    assert verify(ready.store).sound
    begun_anew = run_job(job(tmp_path / "in", out, metrics=["psnr"]), local=True, fresh=True)
    assert begun_anew.summary.rows.ok == 18


def test_what_the_job_filtered_stays_out(tmp_path):
    write_tars(tmp_path / "first", 2, 6)
    run_job(job(tmp_path / "first", tmp_path / "all", metrics=["psnr"]), local=True)
    out, ready = made(tmp_path, keep=f"psnr > {middle(tmp_path / 'all')}")
    assert refilter(ready, "psnr > 0").rows.ok == 6
    assert {row["error"] for row in index_rows(out) if row["status"] == "filtered"} == {"filtered"}


def test_wrong_input_changes_nothing(tmp_path):
    out, ready = made(tmp_path)
    before = read_tree(out, ".")
    with pytest.raises(InputError, match="did you mean 'psnr'"):
        refilter(ready, "psnrr > 3")
    with locked(ready.store, "other"), pytest.raises(Busy):
        refilter(ready, "psnr > 3")
    assert read_tree(out, ".") == before


def test_stopped_in_between_a_run_brings_it_up_to_date(tmp_path, monkeypatch):
    out, ready = made(tmp_path)

    def cut(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "finalise", cut)
    with pytest.raises(KeyboardInterrupt):
        refilter(ready, "psnr > 1000")
    assert not (out / "_sceneshift" / "success.json").exists()
    outcome = run_job(job(tmp_path / "in", out, metrics=["psnr"]), local=True)
    assert (outcome.state, outcome.summary.rows.ok) == ("done", 0)
    assert json.loads((out / "metrics.json").read_text())["rows"]["filtered"] == 12
    assert verify(ready.store).sound
