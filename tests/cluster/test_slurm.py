"""deploy/slurm on a real Slurm of two nodes: one job over both, two side by side, failures, and parts without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from jobs.commands.schedule import schedule_command
from jobs.console import Console
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.cluster.conftest import ROOT, program
from tests.conftest import PLUGIN
from tests.support.datasets import write_tars
from tests.support.slurm import Slurm, two_node_slurm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SCRIPTS = ROOT / "deploy" / "slurm"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    for name in ("slurmctld", "slurmd", "munged", "sbatch"):
        program(name)
    with two_node_slurm() as found:
        yield found


def job_file(tmp_path: Path, out: str, **changes: object) -> Path:
    tree = {
        "name": out,
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "invert"},
        "output": {"uri": str(tmp_path / out), "shard_size": 4},
        "metrics": ["psnr"],
        "compute": {"workers": 2},
        **changes,
    }
    path = tmp_path / f"{out}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def environment() -> dict[str, str]:
    """Of a submission: this environment's programs first, which Slurm hands on to the nodes."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": programs, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN)])}


def sbatch(slurm: Slurm, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return slurm.run("sbatch", *words, cwd=cwd, env=environment())


def bytes_of(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for name in ("data", "index") for p in (out / name).iterdir()}


def logs(tmp_path: Path) -> str:
    """What the jobs and their Ray steps said."""
    found = [*tmp_path.glob("*.out"), *tmp_path.glob("*.log")]
    return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(found))


def test_one_job_over_two_nodes_makes_the_bytes_of_one_process(slurm, tmp_path):
    write_tars(tmp_path / "in", 4, 8)
    path = job_file(tmp_path, "out")
    done = sbatch(slurm, tmp_path, "--wait", "--nodes=2", "--cpus-per-task=2", SCRIPTS / "sceneshift.sbatch", path)
    assert done.returncode == 0, done.stderr + logs(tmp_path)
    (log,) = tmp_path.glob("slurm-*.out")
    said = log.read_text()
    assert "on the Ray cluster 10.77.0.1:" in said
    assert "4 CPUs" in said
    assert (tmp_path / "out" / "_sceneshift" / "success.json").exists()
    run_job(JobSpec.load(job_file(tmp_path, "alone")), local=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "alone")
    assert not list(tmp_path.glob(".sceneshift-*.token")), "a token was left behind"
    assert not list(Path("/tmp").glob(f"sceneshift-{log.stem}")), "Ray's folder was left behind"


def test_two_jobs_on_one_node_do_not_meet(slurm, tmp_path):
    write_tars(tmp_path / "in", 2, 8)
    slow = {"method": {"name": "sleeper", "params": {"seconds": 0.5}}, "compute": {"workers": 1}}
    options = ("--parsable", "--nodes=1", "--nodelist=n1", "--cpus-per-task=2")
    for name in ("one", "two"):
        done = sbatch(slurm, tmp_path, *options, SCRIPTS / "sceneshift.sbatch", job_file(tmp_path, name, **slow))
        assert done.returncode == 0, done.stderr
    # Goes when neither is there any more, whatever became of them.
    last = ("--wait", "--ntasks=1", "--dependency=singleton", "--job-name=sceneshift", "--wrap=true")
    done = sbatch(slurm, tmp_path, *last)
    assert done.returncode == 0, done.stderr
    for name in ("one", "two"):
        assert (tmp_path / name / "_sceneshift" / "success.json").exists(), logs(tmp_path)


def test_a_job_that_is_wrong_fails_as_sceneshift_does(slurm, tmp_path):
    path = job_file(tmp_path, "out", source={"uri": str(tmp_path / "nowhere")})
    done = sbatch(slurm, tmp_path, "--wait", "--nodes=1", "--cpus-per-task=2", SCRIPTS / "sceneshift.sbatch", path)
    assert done.returncode == 2, logs(tmp_path)
    (log,) = tmp_path.glob("slurm-*.out")
    assert "nowhere" in log.read_text()
    assert "Traceback" not in log.read_text()
    done = sbatch(slurm, tmp_path, "--wait", SCRIPTS / "sceneshift.sbatch", tmp_path / "none.yaml")
    assert done.returncode == 2, logs(tmp_path)


def test_a_scheduled_job_of_two_targets_runs_and_the_next_night_has_nothing_to_do(slurm, tmp_path):
    write_tars(tmp_path / "in", 2, 4)
    targets = {"plain": {}, "noise": {"method": {"name": "noisy"}}}
    path = job_file(tmp_path, "out", targets=targets, compute={"workers": 1})
    night = tmp_path / "night"
    schedule_command(Console(True), path, "0 2 * * *", "UTC", "slurm", "", None, night)
    (script,) = night.glob("*.sbatch")
    for said in ("Target noise", "Nothing to do"):
        done = sbatch(slurm, tmp_path, "--wait", "--output=%j.out", script)
        assert done.returncode == 0, done.stderr + logs(tmp_path)
        newest = max(tmp_path.glob("*.out"), key=lambda each: each.stat().st_mtime)
        assert said in newest.read_text()
    for name in targets:
        assert (tmp_path / "out" / name / "_sceneshift" / "success.json").exists()


def test_an_array_makes_the_bytes_of_one_process_and_a_killed_task_makes_its_own_share_again(slurm, tmp_path):
    write_tars(tmp_path / "in", 6, 4)
    slow = {"method": {"name": "sleeper", "params": {"seconds": 2.0}}, "compute": {"batch_size": 2}}
    path, script = job_file(tmp_path, "out", **slow), SCRIPTS / "sceneshift-array.sbatch"
    done = sbatch(slurm, tmp_path, "--parsable", "--array=1-3", "--cpus-per-task=1", script, path)
    assert done.returncode == 0, done.stderr
    index = tmp_path / "out" / "index"
    until = time.monotonic() + 120
    while not (index.exists() and any(index.iterdir())):
        assert time.monotonic() < until, logs(tmp_path)
        time.sleep(0.2)
    assert slurm.run("scancel", "--signal=KILL", f"{done.stdout.strip()}_2", cwd=tmp_path).returncode == 0
    after = ("--wait", "--ntasks=1", f"--dependency=afterany:{done.stdout.strip()}", "--wrap=true")
    assert sbatch(slurm, tmp_path, *after).returncode == 0
    assert not (tmp_path / "out" / "_sceneshift" / "success.json").exists()
    before = {path: path.stat().st_mtime_ns for path in index.iterdir()}

    again = ("--wait", "--array=2", "--export=ALL,PARTS=3", "--cpus-per-task=1")
    done = sbatch(slurm, tmp_path, *again, script, path)
    assert done.returncode == 0, logs(tmp_path)
    assert (tmp_path / "out" / "_sceneshift" / "success.json").exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    run_job(JobSpec.load(job_file(tmp_path, "alone", **slow)), local=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "alone")
