"""Submitting without a cluster: ids, environment files, what is refused before anything is sent, logs of an output."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.commands.logs import logs_command
from jobs.commands.submit import Submission, _packed, checked, exit_code, submit_command
from jobs.console import Console
from jobs.submission import Head, read_env_file, submission_id
from methods.errors import InputError
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import write_tars


def job_file(tmp_path: Path, **changes) -> Path:
    tree = {
        "name": "try",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "invert"},
        "output": {"uri": str(tmp_path / "out")},
        "metrics": [],
        **changes,
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_the_attempt_is_one_more_than_the_highest():
    taken = ["a-12345678-1", "a-12345678-11", "a-12345678-x", "b-12345678-40", "a-1234567-50"]
    assert submission_id("a", "1234567890", taken) == "a-12345678-12"
    assert submission_id("a", "abcdef0123", taken) == "a-abcdef01-1"


@given(st.text(min_size=1, max_size=40))
def test_an_id_needs_no_quoting(name: str):
    found = submission_id(name, "1234567890", [])
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in found)
    assert submission_id(name, "1234567890", [found]).endswith("-2")


def test_an_environment_file(tmp_path):
    path = tmp_path / "env"
    path.write_text("# keys\n\nA=1\nexport B='two words'\nC=\"x=y\"\nD=\n")
    assert read_env_file(path) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}
    path.write_text("A=1\nsecret-without-a-key\n")
    with pytest.raises(InputError, match="line 2 is no KEY=VALUE") as found:
        read_env_file(path)
    assert "secret" not in str(found.value)


def test_a_wrong_file_is_refused_before_the_cluster_is_asked(tmp_path):
    nowhere = "http://127.0.0.1:9"
    for changes, said in (
        ({"methods": {}}, "unknown key 'methods'"),
        ({"method": {"name": "inverted"}}, "invert"),
        ({"method": {"name": "invert", "params": {"gama": 1}}}, "gama"),
        ({"metrics": ["psnrr"]}, "psnr"),
        ({"metrics": ["psnr"], "keep": "ssim > 1"}, "ssim"),
    ):
        with pytest.raises(InputError, match=said):
            submit_command(
                Console(True), Submission(job_file(tmp_path, **changes)), nowhere, wait=False, stop_on_exit=False
            )
    with pytest.raises(InputError, match="no Ray head answers there"):
        submit_command(Console(True), Submission(job_file(tmp_path)), nowhere, wait=False, stop_on_exit=False)
    with pytest.raises(InputError, match="add --wait"):
        submit_command(Console(True), Submission(job_file(tmp_path)), nowhere, wait=False, stop_on_exit=True)
    order = Submission(job_file(tmp_path), working_dir=tmp_path / "gone")
    with pytest.raises(InputError, match="no such folder"):
        submit_command(Console(True), order, nowhere, wait=False, stop_on_exit=False)
    with pytest.raises(InputError, match="expected the dashboard's"):
        Head("ray://head:10001")


def test_the_file_alone_is_uploaded_with_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = job_file(tmp_path, source={"uri": "in"}, output={"uri": "out"}, compute={"address": "ray://other:1"})
    command, spec = checked(path, ("seed=7",))
    with _packed(Submission(path, ("seed=7",)), command, spec) as (entrypoint, environment):
        assert entrypoint == "sceneshift run job.yaml"
        sent = JobSpec.load(Path(environment["working_dir"]) / "job.yaml")
    assert sent.source.uri == str(tmp_path / "in")
    assert sent.output.uri == str(tmp_path / "out")
    assert (sent.seed, sent.compute.address) == (7, None)
    assert sent.model_copy(update={"compute": spec.compute}) == spec


def test_a_working_directory_or_an_image_holds_the_file(tmp_path):
    path = job_file(tmp_path)
    command, spec = checked(path, ())
    order = Submission(path, ("name=a b",), working_dir=tmp_path)
    with _packed(order, command, spec) as (entrypoint, environment):
        assert entrypoint == "sceneshift run job.yaml --set 'name=a b'"
        assert environment["working_dir"] == str(tmp_path)
    with _packed(Submission(path, image="me/it:1"), command, spec) as (_, environment):
        assert environment == {"env_vars": {}, "image_uri": "me/it:1"}
    (tmp_path / "other").mkdir()
    with (
        pytest.raises(InputError, match="lies outside --working-dir"),
        _packed(Submission(path, working_dir=tmp_path / "other"), command, spec),
    ):
        pass
    path = job_file(tmp_path, output={"uri": "out"})
    with (
        pytest.raises(InputError, match="lost with it"),
        _packed(Submission(path, working_dir=tmp_path), command, spec),
    ):
        pass


def test_training_and_distillation_files_are_known(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({"teacher": {"uri": "a"}, "output": {"uri": "b"}}))
    assert checked(path, ())[0] == "distill"
    path.write_text(
        yaml.safe_dump({"objective": {"name": "ddpm"}, "data": {"images": {"uri": "a"}}, "output": {"uri": "b"}})
    )
    assert checked(path, ())[0] == "train"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", 137, 3),
        ("FAILED", None, 3),
        ("STOPPED", 0, 3),
    ],
)
def test_exit_codes_are_the_jobs(status, code, expected):
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=code)) == expected  # type: ignore[arg-type]


def test_the_logs_of_an_output_need_no_cluster(tmp_path, capsys):
    write_tars(tmp_path / "in", 1, 3)
    path = job_file(tmp_path)
    outcome = run_job(JobSpec.load(path), local=True)
    logs_command(Console(False), str(tmp_path / "out"), "http://127.0.0.1:9", follow=True, workers=False)
    text = capsys.readouterr().out
    assert "1 source files" in text
    assert outcome.job.fingerprint in text
    logs_command(Console(True), str(path), "http://127.0.0.1:9", follow=False, workers=True)
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == outcome.run
    assert found["logs"]["driver.log"] == text
