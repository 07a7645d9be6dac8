"""The files of a schedule: templates of this folder, filled in from a job and a cron expression."""

from __future__ import annotations

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
_FILES: dict[str, dict[str, str]] = {
    "kuberay": {"kuberay.yaml.j2": "raycronjob.yaml"},
    "cronjob": {"cronjob.yaml.j2": "cronjob.yaml"},
    "systemd": {"systemd.service.j2": "{name}.service", "systemd.timer.j2": "{name}.timer"},
    "airflow": {"airflow.py.j2": "{module}.py"},
    "slurm": {"slurm.sbatch.j2": "{name}.sbatch", "slurm.scrontab.j2": "{name}.scrontab"},
}
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
        raise InputError(f"--folder {schedule.folder}: expected an absolute path of letters, digits and . _ - /")
    name = re.sub(r"[^a-z0-9]+", "-", schedule.spec.name.lower()).strip("-")[:40].strip("-") or "job"
    compute = schedule.spec.compute
    workers = compute.workers if isinstance(compute.workers, tuple) else (compute.workers, compute.workers)
    least, most = (1, 1) if compute.workers == "auto" else workers
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
        "gpus": round(compute.gpus) if compute.gpus >= 1 else (1 if compute.gpus > 0 else 0),
        "ray": RAY_VERSION,
    }
    files = {
        pattern.format(**values): templates.get_template(template).render(values)
        for template, pattern in _FILES[target].items()
    }
    return files if target in ("kuberay", "cronjob") else files | {"job.yaml": schedule.text}
