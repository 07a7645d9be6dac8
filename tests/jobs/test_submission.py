"""Submitting without a cluster: ids, environment files, what is refused before anything is sent, logs of an output."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobStatus

from jobs import submission
from jobs.commands.logs import logs_command
from jobs.commands.submit import Submission, _packed, checked, exit_code, submit_command
from jobs.console import Console
from jobs.submission import Head, read_env_file, submission_id
from methods.errors import InputError
from pipeline.run.driver import run_job
from pipeline.run.parts import Part
from pipeline.spec import JobSpec, fingerprint
from pipeline.storage import Store
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


def test_a_job_is_found_by_its_name_however_that_is_spelled():
    class Client:
        def list_jobs(self) -> list:
            ids = ("my_job__2-12345678-1", "my_job__2-12345678-2", "my_job-12345678-3")
            return [SimpleNamespace(submission_id=id_, start_time=at) for at, id_ in enumerate(ids)]

    head = Head.__new__(Head)
    head.address, head._client = "http://head:8265", Client()  # type: ignore[assignment]
    assert head.find("my job #2") == "my_job__2-12345678-2"
    assert head.find("my_job__2-12345678-1") == "my_job__2-12345678-1"
    with pytest.raises(InputError, match="no job 'job'"):
        head.find("job")


@given(st.text(min_size=1, max_size=40))
def test_an_id_needs_no_quoting(name: str):
    found = submission_id(name, "1234567890", [])
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in found)
    assert submission_id(name, "1234567890", [found]).endswith("-2")


def test_a_head_that_has_just_come_up_is_given_time(monkeypatch):
    asked = []

    class Client:
        def list_jobs(self) -> list:
            return []

        def submit_job(self, **arguments: object) -> object:
            asked.append(arguments["submission_id"])
            if len(asked) < 3:
                raise RuntimeError("Request failed with status code 500: No available agent to submit job")
            return arguments["submission_id"]

    monkeypatch.setattr(submission, "_AGAIN_AFTER_SECONDS", 0.0)
    head = Head.__new__(Head)
    head.address, head._client = "http://head:8265", Client()  # type: ignore[assignment]
    assert head.submit("try", "0123456789") == "try-01234567-1"
    assert len(asked) == 3
    monkeypatch.setattr(submission, "_READY_WITHIN_SECONDS", -1.0)
    asked.clear()
    with pytest.raises(InputError, match="No available agent"):
        head.submit("try", "0123456789")


@pytest.mark.parametrize(("if_busy", "code"), [("fail", None), ("skip", 0), ("follow", 1)])
def test_a_job_that_is_at_work_is_refused_left_or_followed(if_busy, code, tmp_path, monkeypatch, capsys):
    """As for a scheduler that tries again because its own process died."""
    path, followed = job_file(tmp_path), []
    stem = f"try-{fingerprint(JobSpec.load(path).model_dump(mode='json', exclude={'name', 'compute'}))[:8]}"
    running = SimpleNamespace(submission_id=f"{stem}-4", status="RUNNING", start_time=1)

    class Client:
        def list_jobs(self) -> list:
            return [running]

    class Cluster(Head):
        def __init__(self, address: str) -> None:
            self.address, self._client = address, Client()  # type: ignore[assignment]

        def follow(self, id_: str, write: object) -> Any:
            followed.append(id_)
            return SimpleNamespace(status=JobStatus.FAILED, driver_exit_code=1)

    monkeypatch.setattr("jobs.commands.submit.Head", Cluster)
    ask = functools.partial(submit_command, Console(True), Submission(path), "http://head:8265", stop_on_exit=False)
    if code is None:
        with pytest.raises(InputError, match=f"{stem}-4 is running"):
            ask(wait=True, if_busy=if_busy)
        with pytest.raises(InputError, match="add --wait"):
            ask(wait=False, if_busy="follow")
        return
    assert ask(wait=if_busy == "follow", if_busy=if_busy) == code
    assert followed == ([f"{stem}-4"] if if_busy == "follow" else [])
    said = json.loads(capsys.readouterr().out)
    assert (said["id"], said["status"]) == (f"{stem}-4", "FAILED" if followed else "SKIPPED")


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


@pytest.mark.parametrize("folder", [False, True])
def test_an_environment_file_travels_as_a_file_that_every_process_of_ours_reads(tmp_path, folder):
    path = job_file(tmp_path)
    (tmp_path / "env").write_text("A=planted\nPYTHONPATH=/somewhere\n")
    other = tmp_path / "sceneshift-environment.json"
    other.write_text("{}")
    command, spec = checked(path, ())
    order = Submission(path, working_dir=tmp_path if folder else None, env_file=tmp_path / "env")
    with _packed(order, command, spec) as (_, environment):
        assert environment["env_vars"].pop("PYTHONPATH") == "/somewhere"
        assert "planted" not in json.dumps(environment)
        assert (Path(environment["working_dir"]) / "job.yaml").is_file()
        code = [sys.executable, "-c", "import methods, os; print(os.environ['A'])"]
        names = {**os.environ, **environment["env_vars"]}
        done = subprocess.run(code, cwd=environment["working_dir"], env=names, capture_output=True, text=True)
        assert done.stdout == "planted\n", done.stderr
        assert other.read_text() == "{}"
        other.unlink()
        done = subprocess.run(code, cwd=tmp_path, env=names, capture_output=True, text=True)
        assert "which cannot be read (FileNotFoundError)" in done.stderr


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


def test_a_log_is_followed_while_a_part_is_at_work(tmp_path, capsys, monkeypatch):
    write_tars(tmp_path / "in", 1, 3)
    run_job(JobSpec.load(job_file(tmp_path)), local=True)
    store = Store(str(tmp_path / "out"))
    (driver,) = (tmp_path / "out" / "_sceneshift" / "logs").glob("*/driver.log")
    with contextlib.ExitStack() as stack:
        stack.enter_context(Part.parse("1/2").locked(store, "a part", steal=False))

        def later(seconds: float) -> None:
            driver.write_text(driver.read_text() + "what came later\n")
            stack.close()

        monkeypatch.setattr("jobs.commands.logs.time.sleep", later)
        logs_command(Console(False), str(tmp_path / "out"), "http://127.0.0.1:9", follow=True, workers=False)
    assert capsys.readouterr().out.endswith("what came later\n")


def test_the_logs_of_an_output_need_no_cluster(tmp_path, capsys):
    write_tars(tmp_path / "in", 1, 3)
    path = job_file(tmp_path)
    outcome = run_job(JobSpec.load(path), local=True)
    logs_command(Console(False), str(tmp_path / "out"), "http://127.0.0.1:9", follow=True, workers=False)
    text = capsys.readouterr().out
    assert "1 source file" in text
    assert outcome.job.fingerprint in text
    logs_command(Console(True), str(path), "http://127.0.0.1:9", follow=False, workers=True)
    with pytest.raises(InputError, match="leave out --json"):
        logs_command(Console(True), str(path), "http://127.0.0.1:9", follow=True, workers=True)
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == outcome.run
    assert found["logs"]["driver.log"] == text
