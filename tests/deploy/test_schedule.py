"""What `sceneshift schedule` writes: valid for the programs that read it, and true to the cron expression."""

from __future__ import annotations

import ast
import copy
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.commands.run import run_command
from jobs.commands.schedule import schedule_command
from jobs.console import Console
from jobs.schedule.cron import Cron
from jobs.schedule.render import IN_CONTAINERS, TARGETS
from methods.errors import InputError
from pipeline.paths import LOCK_FILE
from pipeline.run import lock
from pipeline.run.lock import Busy, locked
from pipeline.storage import Store
from tests.support.datasets import write_tars
from tests.support.kuberay import validate

TEXT = """# a job
name: Nightly Streets
source: {uri: "/data/in"}
method: {name: invert}
output: {uri: "s3://bucket/${PLACE}/out"}
compute: {workers: [1, 4], cpus: 2, gpus: 1}
"""


CREDENTIALS = [{"secretRef": {"name": "sceneshift-env", "optional": True}}]


def written(tmp_path: Path, target: str, text: str = TEXT, cron: str = "0 2 * * *", **more: Any) -> dict[str, str]:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "job.yaml").write_text(text)
    options = {"zone": "Europe/Berlin", "image": "me/sceneshift:1", "folder": "/srv/night", **more}
    out = tmp_path / target
    schedule_command(Console(True), tmp_path / "job.yaml", cron, target=target, out=out, **options)
    return {path.name: path.read_text() for path in out.iterdir()}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "not-to-be-filled-in")


def test_kuberay_is_what_the_operator_takes(tmp_path):
    config, resource = yaml.safe_load_all(written(tmp_path, "kuberay")["raycronjob.yaml"])
    assert config["data"]["job.yaml"].rstrip("\n") == TEXT.rstrip("\n")
    validate(resource)
    wrong = copy.deepcopy(resource)
    wrong["spec"]["jobTemplate"]["rayClusterSpec"]["headGroupSpecs"] = {}
    with pytest.raises(jsonschema.ValidationError, match="headGroupSpecs"):
        validate(wrong)
    (group,) = resource["spec"]["jobTemplate"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 4)
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    head = resource["spec"]["jobTemplate"]["rayClusterSpec"]["headGroupSpec"]
    for each in (head, group):
        assert each["template"]["spec"]["containers"][0]["envFrom"] == CREDENTIALS


def test_a_cron_job_forbids_two_at_once(tmp_path, capsys):
    config, resource = yaml.safe_load_all(written(tmp_path, "cronjob")["cronjob.yaml"])
    assert "note: /data/in: inside the containers" in capsys.readouterr().err
    assert "${PLACE}" in config["data"]["job.yaml"]
    spec = resource["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 2 * * *", "Europe/Berlin", "Forbid")
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["run", "/etc/sceneshift/job.yaml", "--if-busy", "skip"]
    assert container["envFrom"] == CREDENTIALS


@pytest.mark.parametrize(
    ("cron", "calendar"),
    [
        ("0 2 * * *", "*-*-* 2:0:00"),
        ("*/15 8-18 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 8..18:0/15:00"),
        ("30 4 1,15 */3 *", "*-1/3-1,15 4:30:00"),
        ("0 0 * * 0", "Sun *-*-* 0:0:00"),
        ("0 0 * * 5-7", "Fri,Sat,Sun *-*-* 0:0:00"),
    ],
)
def test_cron_as_systemd_writes_it(cron, calendar):
    assert Cron.parse(cron).calendar == calendar
    if analyze := shutil.which("systemd-analyze"):
        subprocess.run([analyze, "calendar", f"{calendar} Europe/Berlin"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0 2 * * MON-fri", "0 2 * * 1-5"),
        ("0 2 1 jan,JUL *", "0 2 1 1,7 *"),
        ("@daily", "0 0 * * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2,3 *", "0 0 31 2,3 *"),
        ("0 0 31 2 1", "0 0 31 2 1"),
    ],
)
def test_names_and_macros_are_numbers(text, numbers):
    assert str(Cron.parse(text)) == numbers


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 31 4,6-9/3 *", "0 0 30-31 2 *", "0 0 31 2,4 *"])
def test_a_day_that_never_comes_is_refused(cron):
    with pytest.raises(InputError, match="no month of those"):
        Cron.parse(cron)


def test_a_training_file_and_a_file_as_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="for `sceneshift train`"):
        written(tmp_path, "cronjob", "objective: {name: ddpm}\n")
    (tmp_path / "slurm").write_text("")
    with pytest.raises(InputError, match="is a file"):
        written(tmp_path, "slurm")
    (tmp_path / "systemd" / "job.yaml").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written to"):
        written(tmp_path, "systemd")


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "* * * foo *"]
)
def test_a_wrong_cron_expression_is_refused(cron):
    with pytest.raises(InputError, match="--cron"):
        Cron.parse(cron)
    with pytest.raises(InputError, match="restrict one of the two"):
        _ = Cron.parse("0 0 1 * 1").calendar


def test_systemd_accepts_the_units(tmp_path):
    files = written(tmp_path, "systemd", folder=str(tmp_path))
    assert set(files) == {"sceneshift-nightly-streets.service", "sceneshift-nightly-streets.timer", "job.yaml"}
    assert files["job.yaml"] == TEXT
    if analyze := shutil.which("systemd-analyze"):
        units = [str(tmp_path / "systemd" / name) for name in files if name != "job.yaml"]
        done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_airflow_and_slurm_parse(tmp_path):
    module = written(tmp_path, "airflow")["sceneshift_nightly_streets.py"]
    text = ast.unparse(ast.parse(module))
    assert "catchup=False" in text
    assert "max_active_runs=1" in text
    files = written(tmp_path, "slurm")
    script = files["sceneshift-nightly-streets.sbatch"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script.splitlines()[-1] == "exec sceneshift run /srv/night/job.yaml --if-busy skip"
    assert "0 2 * * * sbatch /srv/night/" in files["sceneshift-nightly-streets.scrontab"]


def test_names_that_lose_letters_stay_apart(tmp_path):
    names = ("Nightly Streets", "\u591c", "\u663c", "x" * 50 + "1", "x" * 50 + "2")
    files = [
        set(written(tmp_path / str(at), "slurm", TEXT.replace("Nightly Streets", n))) for at, n in enumerate(names)
    ]
    scripts = [name for each in files for name in each if name.endswith(".sbatch")]
    assert len(set(scripts)) == 5
    assert "sceneshift-nightly-streets.sbatch" in scripts
    assert all(re.fullmatch(r"[a-z0-9-]{1,60}\.sbatch", each) for each in scripts)


def test_shares_of_a_device_are_added_up(tmp_path):
    text = TEXT.replace("cpus: 2, gpus: 1", "cpus: 0.5, gpus: 0.25")
    (container,) = list(yaml.safe_load_all(written(tmp_path, "cronjob", text)["cronjob.yaml"]))[1]["spec"][
        "jobTemplate"
    ]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "2"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("target", TARGETS)
def test_what_cannot_run_elsewhere_is_refused(tmp_path, target):
    with pytest.raises(InputError, match="absolute paths"):
        written(tmp_path, target, TEXT.replace("/data/in", "data/in"))
    with pytest.raises(InputError, match="no such zone"):
        written(tmp_path, target, zone="Europe/Nowhere")
    with pytest.raises(InputError, match="--folder"):
        written(tmp_path, target, folder="/srv/two words")
    for image in ("", "two words") if target in IN_CONTAINERS else ():
        with pytest.raises(InputError, match="--image"):
            written(tmp_path, target, image=image)
    assert not (tmp_path / target).exists()


def nightly(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A small job, and the options that it is run with."""
    write_tars(tmp_path / "in", 1, 3)
    path = tmp_path / "job.yaml"
    tree = {"source": {"uri": str(tmp_path / "in")}, "method": {"name": "invert"}, "metrics": []}
    path.write_text(yaml.safe_dump({**tree, "output": {"uri": str(tmp_path / "out")}}))
    return path, {"local": True, "fresh": False, "steal_lock": False}


def test_a_busy_output_is_left_to_its_run(tmp_path, capsys):
    path, options = nightly(tmp_path)
    with locked(Store(str(tmp_path / "out")), "another"):
        assert run_command(Console(True), path, [], **options, if_busy="skip") == 0
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "skipped: " in line
        assert "run another on" in line
        with pytest.raises(Busy):
            run_command(Console(True), path, [], **options)


@pytest.mark.parametrize("alive", [True, False])
def test_a_lock_of_another_machine_is_looked_at_before_a_night_is_skipped(alive, tmp_path, capsys, monkeypatch):
    """As when a pod died and its successor starts at once, under another host name."""
    path, options = nightly(tmp_path)
    store = Store(str(tmp_path / "out"))
    held = {"host": "elsewhere", "boot": "", "pid": 1, "run": "another", "token": "t", "beat": time.time() - 60}

    def later(seconds: float) -> None:
        """What has become of the lock after a look."""
        if seconds == lock.LOOK_SECONDS:
            beat = time.time() if alive else time.time() - 2 * lock.STALE_SECONDS
            store.put(LOCK_FILE, json.dumps(held | {"beat": beat}).encode())

    store.put(LOCK_FILE, json.dumps(held).encode())
    monkeypatch.setattr(lock, "time", SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=later))
    assert run_command(Console(True), path, [], **options, if_busy="skip") == 0
    assert ("skipped: " in capsys.readouterr().err) == alive
    assert (tmp_path / "out" / "_sceneshift" / "success.json").exists() != alive
