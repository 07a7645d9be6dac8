"""deploy/kuberay: every overlay renders, is what KubeRay's operator takes, and promises what the documentation says."""

from __future__ import annotations

import copy
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.job import check
from pipeline.spec import JobSpec
from tests.support.kuberay import validate

OVERLAYS = Path(__file__).resolve().parents[2] / "deploy" / "kuberay" / "overlays"
NAMES = sorted(path.name for path in OVERLAYS.iterdir())
KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl here; `make test-cluster` brings one")


@cache
def _text(name: str) -> str:
    assert KUBECTL is not None
    command = [KUBECTL, "kustomize", str(OVERLAYS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rendered(name: str) -> dict[str, Any]:
    """The documents of an overlay by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(_text(name))}


def ray_job(name: str) -> dict[str, Any]:
    """The spec of the RayJob that an overlay makes, now or every night."""
    found = rendered(name)
    if name == "cronjob":
        configs = {each["metadata"]["name"]: each for each in yaml.safe_load_all(_text(name)) if "data" in each}
        return yaml.safe_load(configs["sceneshift-rayjob"]["data"]["rayjob.yaml"])["spec"]
    return found["RayCronJob"]["spec"]["jobTemplate"] if "RayCronJob" in found else found["RayJob"]["spec"]


def test_all_overlays_are_here():
    assert NAMES == ["cpu", "cronjob", "gpu", "raycronjob", "spot"]


@pytest.mark.parametrize("name", NAMES)
def test_the_operator_takes_it_and_refuses_a_typo(name):
    resource = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {}, "spec": ray_job(name)}
    validate(resource)
    found = rendered(name)
    assert ("RayJob" in found, "RayCronJob" in found) == (name in ("cpu", "gpu", "spot"), name == "raycronjob")
    if "RayCronJob" in found:
        validate(found["RayCronJob"])
    for path, wrong in (("rayClusterSpec", "headGroupSpecs"), ("rayClusterSpec", "authOption"), (None, "entryPoint")):
        planted = copy.deepcopy(resource)
        (planted["spec"] if path is None else planted["spec"][path])[wrong] = {}
        with pytest.raises(jsonschema.ValidationError, match=wrong):
            validate(planted)


@pytest.mark.parametrize("name", NAMES)
def test_every_cluster_asks_for_a_token_and_keeps_work_off_the_head(name):
    cluster = ray_job(name)["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) == (name in ("gpu", "spot"))
    assert cluster.get("enableInTreeAutoscaling", False) == (name == "spot")


@pytest.mark.parametrize("name", NAMES)
def test_the_job_is_one_that_can_run_there(name, tmp_path):
    configs = {each["metadata"]["name"]: each["data"] for each in yaml.safe_load_all(_text(name)) if "data" in each}
    (tmp_path / "job.yaml").write_text(configs["sceneshift-job"]["job.yaml"])
    spec = JobSpec.load(tmp_path / "job.yaml")
    check(spec)
    job = ray_job(name)
    # What is tried again at once must not take the lock of the attempt before for another run.
    nightly = " --if-busy skip" if name in ("raycronjob", "cronjob") else ""
    assert job["entrypoint"] == f"sceneshift run /etc/sceneshift/job.yaml{nightly}"
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    workers = spec.compute.workers
    least, most = workers if isinstance(workers, tuple) else (workers, workers)
    assert (least, most) == (group["minReplicas"], group["maxReplicas"])
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert spec.compute.cpus == cpus - 1
    assert (spec.compute.gpus > 0) == (name in ("gpu", "spot"))


def test_the_copy_that_a_cron_job_creates_is_the_one_that_is_rendered():
    now, nightly = ray_job("cpu"), ray_job("cronjob")
    assert nightly == {**now, "entrypoint": f"{now['entrypoint']} --if-busy skip"}
    found = rendered("cronjob")
    assert found["CronJob"]["spec"]["concurrencyPolicy"] == "Forbid"
    script = OVERLAYS / "cronjob" / "start.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize(
    ("deployment", "state", "status"), [("Complete", "SUCCEEDED", 0), ("Failed", "FAILED", 1), ("Complete", "", 1)]
)
def test_the_cron_job_ends_as_its_ray_job(tmp_path, deployment, state, status):
    """A stand-in for kubectl answers as the API server would."""
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(
        "#!/bin/sh\n"
        f'case "$*" in create*) echo rayjob.ray.io/s-1 ;; *jobDeploymentStatus*) echo {deployment} ;; '
        f"*jobStatus*) echo '{state}' ;; esac\n"
    )
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["sh", str(OVERLAYS / "cronjob" / "start.sh")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert "rayjob.ray.io/s-1: created" in done.stdout
