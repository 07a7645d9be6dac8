"""`sceneshift schedule`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from jobs.schedule.cron import Cron
from jobs.schedule.render import Schedule, render
from methods.errors import InputError
from pipeline.job import check
from pipeline.spec import JobSpec, read_tree


def schedule_command(
    console: Console, path: Path, cron: str, zone: str, target: str, image: str, folder: str | None, out: Path
) -> int:
    """Write the files of a schedule; refuses a job that could not run, or only from the folder it lies in."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; expected a folder to write to")
    _refuse_training(path)
    spec = JobSpec.load(path)
    check(spec)
    _refuse_relative(path)
    place = Path(folder) if folder else out.resolve()
    schedule = Schedule(spec, path.read_text(encoding="utf-8"), Cron.parse(cron), zone, image, place)
    files = render(schedule, target)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    if target == "kuberay":
        console.note("RayCronJob is alpha and off by default in KubeRay; --target cronjob needs no feature gate")
    console.result({"target": target, "files": [str(out / name) for name in files]})
    console.say("\n".join(f"wrote {out / name}" for name in files))
    return DONE


def _refuse_training(path: Path) -> None:
    tree = read_tree(path, (), "a job is a mapping with `source`, `method` and `output`")
    for key, command in (("objective", "train"), ("teacher", "distill")):
        if key in tree:
            raise InputError(f"{path}: is for `sceneshift {command}`; a schedule runs jobs, each night on what is new")


def _refuse_relative(path: Path) -> None:
    """A scheduler starts a job from elsewhere, where relative paths mean other places."""
    tree = read_tree(path, (), "a job is a mapping with `source`, `method` and `output`")
    sources = tree["source"]["uri"]
    for uri in (*([sources] if isinstance(sources, str) else sources), tree["output"]["uri"]):
        if "://" not in uri and not uri.startswith(("/", "~", "$")):
            raise InputError(f"{path}: {uri}: a schedule needs absolute paths or URIs")
