"""Files for Kubernetes, Docker, systemd, Prometheus and Airflow, checked by the programs that read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from jobs.commands.schedule import schedule_command
from jobs.console import Console
from tests.cluster.conftest import ROOT, program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
OVERLAYS = sorted(path.name for path in (ROOT / "deploy" / "kuberay" / "overlays").iterdir())
CORE = {"v1", "batch/v1", "rbac.authorization.k8s.io/v1"}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, **options)  # type: ignore[call-overload]


def scheduled(tmp_path: Path, target: str) -> Path:
    """What `sceneshift schedule` writes for a small job."""
    tree = {"source": {"uri": "/data/in"}, "method": {"name": "invert"}, "output": {"uri": "/data/out"}}
    path, out = tmp_path / "job.yaml", tmp_path / target
    path.write_text(yaml.safe_dump({"name": "night", **tree}))
    schedule_command(Console(True), path, "30 2 * * 1-5", "Europe/Berlin", target, "me/s:1", "/srv", out)
    return out


def validated(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Every document of the core kinds through kubernetes-validate; custom resources are not known to it."""
    documents = [each for each in yaml.safe_load_all(text) if each["apiVersion"] in CORE]
    assert documents
    path = tmp_path / "documents.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return run(program("kubernetes-validate"), "--strict", path)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_renders_with_the_newest_kubectl_and_is_valid(name, tmp_path):
    done = run(program("kubectl"), "kustomize", ROOT / "deploy" / "kuberay" / "overlays" / name)
    assert (done.returncode, done.stderr) == (0, "")
    checked = validated(tmp_path, done.stdout)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_cron_job_is_valid_and_a_typo_is_refused(tmp_path):
    text = (scheduled(tmp_path, "cronjob") / "cronjob.yaml").read_text()
    checked = validated(tmp_path, text)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    refused = validated(tmp_path, text.replace("concurrencyPolicy", "concurencyPolicy"))
    assert refused.returncode != 0
    assert "concurencyPolicy" in refused.stdout + refused.stderr


def test_hadolint_finds_nothing():
    done = run(program("hadolint"), ROOT / "deploy" / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_systemd_takes_the_units_and_sees_the_times_of_the_cron_expression(tmp_path):
    analyze = program("systemd-analyze")
    folder = scheduled(tmp_path, "systemd")
    own = ROOT / "deploy" / "systemd"
    units = [*folder.glob("*.service"), *folder.glob("*.timer")]
    # A template is checked as one of its instances.
    for unit in own.iterdir():
        instance = tmp_path / unit.name.replace("@", "@night")
        instance.write_text(unit.read_text())
        units.append(instance)
    assert len(units) == 4
    done = run(analyze, "verify", *units)
    assert (done.returncode, done.stderr) == (0, "")
    timer = next(folder.glob("*.timer")).read_text()
    (calendar,) = [line.removeprefix("OnCalendar=") for line in timer.splitlines() if line.startswith("OnCalendar=")]
    done = run(analyze, "calendar", "--base-time=2026-01-02 12:00:00 UTC", calendar)
    # The Friday's time has passed, so Monday's is next.
    assert "Mon 2026-01-05 02:30:00" in done.stdout or "Mon 2026-01-05 01:30:00 UTC" in done.stdout, done.stdout


def test_promtool_takes_configuration_and_rules(tmp_path):
    promtool = program("promtool")
    folder = ROOT / "deploy" / "prometheus"
    assert "3 rules found" in run(promtool, "check", "config", folder / "prometheus.yml").stdout
    done = run(promtool, "test", "rules", Path(__file__).with_name("rules_test.yml"), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def airflow_environment(home: Path, dags: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


def test_airflow_tries_again_only_what_may_end_otherwise(tmp_path):
    airflow = program("airflow")
    (tmp_path / "dags").mkdir()
    (tmp_path / "bin").mkdir()
    dag = ROOT / "deploy" / "airflow" / "sceneshift_nightly.py"
    (tmp_path / "dags" / dag.name).write_text(dag.read_text())
    command = tmp_path / "bin" / "sceneshift"
    environment = airflow_environment(tmp_path, tmp_path / "dags") | {
        "PATH": f"{command.parent}:/usr/bin:/bin",
        "AIRFLOW_VAR_SCENESHIFT_JOB": "job.yaml",
        "AIRFLOW_VAR_SCENESHIFT_HEAD": "http://head:8265",
    }
    assert run(airflow, "db", "migrate", env=environment).returncode == 0
    for code, state in ((0, "success"), (1, "failed"), (2, "failed"), (3, "up_for_retry")):
        command.write_text(f"#!/bin/bash\nexit {code}\n")
        command.chmod(0o755)
        done = run(airflow, "tasks", "test", "sceneshift_nightly", "submit", "2025-02-01", env=environment)
        assert f"new_state={state} " in (done.stdout + done.stderr).replace("\n", " "), (code, done.stderr[-2000:])


def test_airflow_lists_both_dags_without_import_errors(tmp_path):
    airflow = program("airflow")
    dags = tmp_path / "dags"
    dags.mkdir()
    for path in [*(ROOT / "deploy" / "airflow").glob("*.py"), *scheduled(tmp_path, "airflow").glob("*.py")]:
        (dags / path.name).write_text(path.read_text())
    environment = airflow_environment(tmp_path, dags)
    for words in (["db", "migrate"], ["dags", "reserialize"]):
        done = run(airflow, *words, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    errors = run(airflow, "dags", "list-import-errors", env=environment)
    assert "No data found" in errors.stdout, errors.stdout
    listed = run(airflow, "dags", "list", "--output", "plain", env=environment).stdout
    assert "sceneshift_nightly" in listed
    assert "sceneshift_night " in listed
    for name in ("sceneshift_nightly", "sceneshift_night"):
        details = run(airflow, "dags", "details", name, "--output", "json", env=environment).stdout
        (found,) = json.loads(details[details.index("[{") :])
        # that nights before now are not caught up with is tested in tests/deploy: it is not listed here
        assert (found["max_active_runs"], found["has_import_errors"]) == ("1", "False")
