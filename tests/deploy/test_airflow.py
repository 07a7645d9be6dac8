"""The Airflow DAGs without Airflow: they run commands of this version, whose exit code and signals pass through.

``tests/cluster`` lists them with a real Airflow.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jobs.cli import app
from jobs.commands.schedule import schedule_command
from jobs.console import Console

ROOT = Path(__file__).resolve().parents[2]
JOB = 'name: n\nsource: {uri: "/data/in"}\nmethod: {name: invert}\noutput: {uri: "/data/out"}\n'
SUBMITTED = {"sceneshift_job": "/srv/my job.yaml", "sceneshift_head": "http://head:8265"}


def nightly(tmp_path: Path) -> str:
    return (ROOT / "deploy" / "airflow" / "sceneshift_nightly.py").read_text()


def scheduled(tmp_path: Path) -> str:
    (tmp_path / "job.yaml").write_text(JOB)
    options = {"zone": "Europe/Berlin", "image": "", "folder": "/srv/night"}
    schedule_command(
        Console(True), tmp_path / "job.yaml", "0 2 * * *", target="airflow", out=tmp_path / "out", **options
    )
    (module,) = (tmp_path / "out").glob("*.py")
    return module.read_text()


class Failed(Exception):
    """Stands for AirflowException: Airflow tries again."""


class FailedForGood(Failed):
    """Stands for AirflowFailException: it does not."""


both = pytest.mark.parametrize("source", [nightly, scheduled])


def read(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the module's DAG and of its one task, from stand-ins for what it imports."""
    dags: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []

    class Dag:
        def __init__(self, **arguments: Any) -> None:
            dags.append(arguments)

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *_: object) -> None: ...

    class Bash:
        """As the real one, which ``tests/cluster`` runs: the process stays known, another exit code than 0 raises."""

        subprocess_hook = types.SimpleNamespace(sub_process=None)

        def __init__(self, **arguments: Any) -> None:
            self.arguments = arguments
            tasks.append(arguments | {"operator": self})

        def execute(self, context: Mapping[str, str]) -> str:
            done = subprocess.run(["bash", "-c", self.arguments["bash_command"]], env=context)
            self.subprocess_hook.sub_process = done
            if done.returncode:
                raise Failed(f"exit code {done.returncode}")
            return ""

    modules: Mapping[str, Mapping[str, Any]] = {
        "pendulum": {"datetime": lambda *at, tz: (*at, tz)},
        "airflow": {},
        "airflow.sdk": {"DAG": Dag},
        "airflow.sdk.exceptions": {"AirflowException": Failed, "AirflowFailException": FailedForGood},
        "airflow.providers": {},
        "airflow.providers.standard": {},
        "airflow.providers.standard.operators": {},
        "airflow.providers.standard.operators.bash": {"BashOperator": Bash},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    exec(compile(text, "dag", "exec"), {})
    (dag,), (task,) = dags, tasks
    return dag, task


def environment(task: Mapping[str, Any], programs: Path) -> dict[str, str]:
    """Of the task's shell, its Airflow variables filled in, with stand-ins for programs first."""
    filled = {
        name: re.sub(r"{{ var\.value\.(\w+) }}", lambda found: SUBMITTED[found[1]], value)
        for name, value in task.get("env", {}).items()
    }
    return {**filled, "PATH": f"{programs}:/usr/bin:/bin"}


def stand_in(folder: Path, body: str, first: str = "") -> Path:
    """A folder with a program ``sceneshift`` that does ``first``, writes its arguments to ``said``, does ``body``."""
    folder.mkdir(exist_ok=True)
    program = folder / "sceneshift"
    said = shlex.quote(str(folder / "said"))
    program.write_text(f'#!/bin/bash\n{first}\nprintf "%s\\n" "$@" > {said}\n{body}\n')
    program.chmod(0o755)
    return folder


@both
def test_a_dag_runs_once_at_a_time_and_its_retries_go_on(source: Callable[[Path], str], tmp_path, monkeypatch):
    dag, task = read(source(tmp_path), monkeypatch)
    assert (dag["catchup"], dag["max_active_runs"], dag["schedule"]) == (False, 1, "0 2 * * *")
    assert (task["retries"], task["retry_delay"]) == (2, timedelta(minutes=5))
    if "env" in task:
        assert task["append_env"], "without, the worker's PATH and credentials are gone"


@both
@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_the_command_is_one_of_this_version_and_its_exit_code_the_tasks(source, code, tmp_path, monkeypatch):
    _, task = read(source(tmp_path), monkeypatch)
    programs = stand_in(tmp_path / "bin", f"exit {code}")
    done = subprocess.run(["bash", "-c", task["bash_command"]], env=environment(task, programs))
    assert done.returncode == code
    name, *words = (programs / "said").read_text().splitlines()
    group: Any = typer.main.get_command(app)
    # parses and checks the arguments; nothing is run
    with group.commands[name].make_context(name, list(words)) as context:
        found = context.params
    assert Path(found["spec"]) == Path("/srv/night/job.yaml" if name == "run" else SUBMITTED["sceneshift_job"])
    if name == "run":
        assert found["if_busy"] == "skip"
    else:
        assert (found["wait"], found["stop_on_exit"], found["address"]) == (True, True, SUBMITTED["sceneshift_head"])
        assert found["if_busy"] == "follow"


@both
@pytest.mark.parametrize(
    ("code", "raised"), [(0, None), (1, FailedForGood), (2, FailedForGood), (3, Failed), (137, Failed)]
)
def test_only_what_may_end_otherwise_is_tried_again(source, code, raised, tmp_path, monkeypatch):
    _, task = read(source(tmp_path), monkeypatch)
    programs = stand_in(tmp_path / "bin", f"exit {code}")
    try:
        task["operator"].execute(environment(task, programs))
        found = None
    except Failed as error:
        found = type(error)
    assert found is raised


@both
def test_a_stopped_task_stops_the_command(source, tmp_path, monkeypatch):
    """Airflow sends SIGTERM to the process group of the task's shell."""
    _, task = read(source(tmp_path), monkeypatch)
    programs = stand_in(tmp_path / "bin", "sleep 60 & wait", f"trap 'touch {tmp_path}/stopped; exit 130' TERM")
    command = ["bash", "-c", task["bash_command"]]
    process = subprocess.Popen(command, env=environment(task, programs), start_new_session=True)
    try:
        until = time.monotonic() + 20
        while not (programs / "said").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        signal_group(process, signal.SIGTERM)
        process.wait(20)
    finally:
        signal_group(process, signal.SIGKILL)
    assert (tmp_path / "stopped").exists()


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
