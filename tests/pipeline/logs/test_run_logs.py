"""Why something failed can be read from the output: a bug of a plug-in leaves reason, count, keys and its traceback."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.commands.status import status_command
from jobs.console import Console
from pipeline.errors import JobFailed
from pipeline.logs.lines import LogLine, read_lines
from pipeline.logs.run import LogOptions, RunLogs
from pipeline.metrics.psnr import Psnr
from pipeline.output.rejections import rejection_reasons
from pipeline.run.driver import run_job
from pipeline.sources.webdataset import WebDatasetSource
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from tests.jobs.test_cli import cli
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job

TRANSLATORS = "sceneshift_try/translators.py"


def lines_of(out: Path) -> list[LogLine]:
    return [line for path in sorted(out.glob("_sceneshift/logs/*/*.log")) for line in read_lines(path.read_text())]


def faulty(tmp_path: Path, **changes: Any) -> JobSpec:
    names = ["fine1", "lookup1", "fine2", "lookup2", "lookup3", "lookup4", "nan1"]
    write_tar(tmp_path / "in" / "a.tar", street_samples(names))
    changes = {"method__name": "trouble", "max_rejects": 10, **changes}
    return job(tmp_path / "in", tmp_path / "out", **changes)


def test_a_bug_in_a_method_leaves_its_traceback_once_with_all_that_is_needed(tmp_path, capsys):
    run_job(faulty(tmp_path, output__shard_size=3), local=True)
    out = tmp_path / "out"
    reasons = rejection_reasons(Store(str(out)))
    assert [(each.stage, each.reason, each.count) for each in reasons] == [
        ("translate", "KeyError", 4),
        ("translate", "not_finite", 1),
    ]
    assert reasons[0].keys == ["lookup1", "lookup2", "lookup3"]
    (trace,) = reasons[0].traces
    assert TRANSLATORS in trace.text
    assert "in _lane_of" in trace.text
    assert "return lanes[key]" in trace.text
    assert trace.place.startswith(TRANSLATORS)
    assert trace.place.endswith("_lane_of")
    assert Path(trace.file).read_text().count("Traceback") == 1
    (line,) = [line for line in lines_of(out) if line.fields.get("reason") == "KeyError"]
    assert line.fields["key"] == "lookup1"
    assert line.fields["shard"].startswith("a-")
    assert line.fields["shard"].endswith("-0000")
    assert line.fields["job"]
    assert line.fields["run"]
    assert line.fields["worker"] == "driver"
    status_command(Console(False), str(out), errors=True)
    shown = capsys.readouterr().out
    assert "4 rejected" in shown
    assert "lookup1, lookup2, lookup3" in shown
    assert "in _lane_of" in shown
    status_command(Console(True), str(out), errors=True)
    assert json.loads(capsys.readouterr().out)["errors"][0]["traces"][0]["key"] == "lookup1"


def test_logs_are_in_neither_data_nor_index(tmp_path):
    run_job(faulty(tmp_path), local=True, log_options=LogOptions(logging.DEBUG, "json"))
    loud = read_tree(tmp_path / "out", "data", "index")
    assert any(line.level == "DEBUG" for line in lines_of(tmp_path / "out"))
    run_job(faulty(tmp_path, output__uri=str(tmp_path / "quiet")), local=True)
    assert read_tree(tmp_path / "quiet", "data", "index") == loud


def test_a_bug_in_a_metric_is_a_rejection_with_its_traceback(tmp_path, monkeypatch):
    def measure(self: Psnr, pictures: object) -> object:
        return {"left": 0}["right"]

    monkeypatch.setattr(Psnr, "measure", measure)
    run_job(faulty(tmp_path, method__name="null", metrics=["psnr"]), local=True)
    (reason,) = rejection_reasons(Store(str(tmp_path / "out")))
    assert (reason.stage, reason.reason, reason.count) == ("measure", "KeyError", 7)
    assert "test_run_logs.py" in reason.traces[0].text
    assert "in measure" in reason.traces[0].text
    assert {row["error"] for row in index_rows(tmp_path / "out")} == {"KeyError"}


def broken(*arguments: object, **more: object) -> object:
    return {"left": 0}["right"]


@pytest.mark.parametrize(
    ("place", "stage", "reason", "rows"),
    [
        ("pipeline.sources.webdataset.assemble", "read", "unreadable", 7),
        ("pipeline.sources.webdataset.WebDatasetSource._pending", "read", "damaged_file", 1),
        ("pipeline.sink.commit.write_parquet", "write", "unwritable", 7),
    ],
)
def test_a_bug_in_a_source_or_a_writer_is_a_rejection_with_its_traceback(
    tmp_path, monkeypatch, place, stage, reason, rows
):
    monkeypatch.setattr(place, broken if "_pending" not in place else broken_later)
    run_job(faulty(tmp_path, method__name="null"), local=True)
    (found,) = rejection_reasons(Store(str(tmp_path / "out")))
    assert (found.stage, found.reason, found.count) == (stage, reason, rows)
    assert "KeyError: 'right'" in found.traces[0].text
    assert "test_run_logs.py" in found.traces[0].text
    assert "in broken" in found.traces[0].text


def broken_later(*arguments: object) -> Iterator[object]:
    yield broken()


def test_a_bug_outside_of_every_sample_ends_the_run_and_names_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(WebDatasetSource, "read", broken)
    with pytest.raises(JobFailed, match=r"KeyError: 'right'.*\(why: .*_sceneshift/logs/"):
        run_job(faulty(tmp_path, method__name="null"), local=True)
    failures = rejection_reasons(Store(str(tmp_path / "out")))
    found = next(each for each in failures if each.stage == "read")
    assert (found.failure, found.reason, found.count) == (True, "KeyError", 1)
    assert "in broken" in found.traces[0].text


@pytest.mark.slow
def test_the_same_from_workers_on_ray(tmp_path, ray_cluster):
    run_job(faulty(tmp_path, compute__workers=1))
    files = [path.name for path in (tmp_path / "out").glob("_sceneshift/logs/*/*.log")]
    assert "driver.log" in files
    assert len(files) >= 2
    reason = rejection_reasons(Store(str(tmp_path / "out")))[0]
    assert (reason.reason, reason.count) == ("KeyError", 4)
    assert "in _lane_of" in reason.traces[0].text
    assert not reason.traces[0].file.endswith("driver.log")


def test_a_bug_in_an_objective_names_the_log_that_has_its_traceback(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    spec = TrainSpec.parse(
        {
            "objective": {"name": "toy_colour", "params": {"bug": 3}},
            "data": {"a": {"uri": str(tmp_path / "in")}},
            "output": {"uri": str(tmp_path / "out")},
            "steps": 6,
            "log_every": 1,
        }
    )
    with pytest.raises(JobFailed, match=r"KeyError: 'image', raised at .*toy\.py:\d+ _weight_of \(why: "):
        train(spec)
    lines = lines_of(tmp_path / "out")
    (fault,) = [line for line in lines if line.traceback]
    assert "sceneshift_try/toy.py" in fault.traceback
    assert "in _weight_of" in fault.traceback
    assert [line.message for line in lines if "step 3 of 6" in line.message]


def test_a_log_that_cannot_be_put_fails_nothing(tmp_path):
    (tmp_path / "out").write_text("a file")
    logs = RunLogs(Store(str(tmp_path / "out")), "run", "job")
    with logs.recording("w") as record:
        logging.getLogger("sceneshift.x").info("hello")
        record.put()


def test_the_terminal_shows_what_is_asked_for(tmp_path):
    spec = faulty(tmp_path)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(spec.as_tree()))
    plain = cli("run", file, "--local")
    assert plain.returncode == 0
    assert "status" in plain.stdout
    assert "--errors" in plain.stdout
    assert "Traceback" not in plain.stderr
    talkative = cli("run", file, "--local", "--fresh", "-v", "--log-format", "json")
    faults = [line for line in read_lines(talkative.stderr) if line.fields.get("reason") == "KeyError"]
    assert len(faults) == 1
    assert "in _lane_of" in faults[0].traceback
    silent = cli("run", file, "--local", "--fresh", "-q")
    assert (silent.returncode, silent.stderr) == (0, "")


def test_debug_shows_the_traceback_of_what_ends_a_command(tmp_path):
    plain, shown = cli("run", tmp_path / "no.yaml"), cli("run", tmp_path / "no.yaml", "--debug")
    assert (plain.returncode, shown.returncode) == (2, 2)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in shown.stderr
    assert "InputError" in shown.stderr
