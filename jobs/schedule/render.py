"""The files of a schedule: templates of this folder, filled in from a job and a cron expression."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jinja2

from jobs.schedule.cron import Cron
from methods.errors import InputError
from pipeline.spec import JobSpec

Target = Literal["kuberay", "cronjob", "systemd", "airflow", "slurm"]
TARGETS: tuple[str, ...] = get_args(Target)
IN_CONTAINERS = ("kuberay", "cronjob")
"""Targets whose runs see what is in their image and what is mounted, and nothing else."""
_FILES: dict[str, dict[str, str]] = {
    "kuberay": {"kuberay.yaml.j2": "raycronjob.yaml"},
    "cronjob": {"cronjob.yaml.j2": "cronjob.yaml"},
    "systemd": {"systemd.service.j2": "{name}.service", "systemd.timer.j2": "{name}.timer"},
    "airflow": {"airflow.py.j2": "{module}.py"},
    "slurm": {"slurm.sbatch.j2": "{name}.sbatch", "slurm.scrontab.j2": "{name}.scrontab"},
}
# Kubernetes cuts off: the names of pods add to it.
_LONGEST_NAME = 40
RAY_VERSION = "2.60.0"


@dataclass(frozen=True)
class Schedule:
    """A job and when it runs.

    Attributes:
        text: of the job file, which travels unchanged, with its environment variables.
        zone: of the cron expression, a name of the IANA data base.
        image: container image, for Kubernetes.
        folder: where the files will lie on the machine that runs them, for systemd, Airflow and Slurm.
    """

    spec: JobSpec
    text: str
    cron: Cron
    zone: str
    image: str
    folder: Path


def render(schedule: Schedule, target: str) -> dict[str, str]:
    """File name -> content, the job file itself among them where the scheduler reads it from a folder.

    Raises:
        InputError: unknown target or time zone, a folder that would need quoting, or times that
            the target cannot express.
    """
    if target not in TARGETS:
        raise InputError(f"--target {target}: expected one of {', '.join(TARGETS)}")
    try:
        ZoneInfo(schedule.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"--time-zone {schedule.zone}: no such zone; expected one such as Europe/Berlin") from None
    if not re.fullmatch(r"/[\w./-]*", str(schedule.folder)):
        raise InputError(
            f"--folder {schedule.folder}: expected an absolute path of letters, digits and . _ - / (without it, it is "
            "that of --out)"
        )
    if target in IN_CONTAINERS and not re.fullmatch(r"[!-~]+", schedule.image):
        raise InputError(f"--image '{schedule.image}': expected the name of a container image")
    name = _plain(schedule.spec.name)
    compute = schedule.spec.compute
    workers = 1 if compute.workers == "auto" else compute.workers
    least, most = workers if isinstance(workers, tuple) else (workers, workers)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # YAML, Python and shell, not HTML; texts are quoted by the filter tojson
        autoescape=False,
    )
    values = {
        "name": f"sceneshift-{name}",
        "module": f"sceneshift_{name.replace('-', '_')}",
        "text": schedule.text.rstrip("\n"),
        "cron": str(schedule.cron),
        "calendar": schedule.cron.calendar if target == "systemd" else "",
        "zone": schedule.zone,
        "image": schedule.image,
        "folder": str(schedule.folder),
        "least": least,
        "most": most,
        "cpus": max(1, round(compute.cpus)),
        "all_cpus": max(1, math.ceil(compute.cpus * most)),
        "all_gpus": math.ceil(compute.gpus * most),
        "gpus": round(compute.gpus) if compute.gpus >= 1 else (1 if compute.gpus > 0 else 0),
        "ray": RAY_VERSION,
    }
    files = {
        pattern.format(**values): templates.get_template(template).render(values)
        for template, pattern in _FILES[target].items()
    }
    return files if target in IN_CONTAINERS else files | {"job.yaml": schedule.text}


def _plain(name: str) -> str:
    """A job's name as schedulers take it. Where letters are lost, a hash keeps two such jobs apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if re.fullmatch(r"[A-Za-z0-9 _.-]+", name) and 0 < len(plain) <= _LONGEST_NAME:
        return plain
    kept = plain[:_LONGEST_NAME].strip("-") or "job"
    return f"{kept}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
