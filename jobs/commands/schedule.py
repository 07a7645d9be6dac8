"""`sceneshift schedule`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.console import DONE, Console
from jobs.places import relative_weights
from jobs.schedule.cron import Cron
from jobs.schedule.render import IN_CONTAINERS, Schedule, render
from methods.errors import InputError, first_line
from pipeline.job import check, weight_uris
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
    _refuse_relative(path, weight_uris(spec))
    place = Path(folder) if folder else out.resolve()
    schedule = Schedule(spec, path.read_text(encoding="utf-8"), Cron.parse(cron), zone, image, place)
    files = render(schedule, target)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({first_line(error)})") from None
    if target == "kuberay":
        console.note("RayCronJob is alpha and off by default in KubeRay; --target cronjob needs no feature gate")
    if target in IN_CONTAINERS and (local := _local(path, weight_uris(spec))):
        console.note(f"{', '.join(local)}: inside the containers, and gone with them unless you mount a volume there")
    console.result({"target": target, "files": [str(out / name) for name in files]})
    console.say("\n".join(f"wrote {out / name}" for name in files))
    return DONE


def _refuse_training(path: Path) -> None:
    tree = read_tree(path, (), "a job is a mapping with `source`, `method` and `output`")
    for key, command in (("objective", "train"), ("teacher", "distill")):
        if key in tree:
            raise InputError(f"{path}: is for `sceneshift {command}`; a schedule runs jobs, each night on what is new")


def _refuse_relative(path: Path, weights: Sequence[str]) -> None:
    """A scheduler starts a job from elsewhere, where relative paths mean other places."""
    tree = read_tree(path, (), "a job is a mapping with `source`, `method` and `output`")
    relative = [uri for uri in _places(tree) if "://" not in uri and not uri.startswith(("/", "~", "$"))]
    for uri in (*relative, *relative_weights(tree, weights)):
        raise InputError(f"{path}: {uri}: a schedule needs absolute paths or URIs")


def _local(path: Path, weights: Sequence[str]) -> list[str]:
    """The paths of a job that are none of a store that every machine reaches, each once."""
    named = [*_places(read_tree(path, (), "a job is a mapping")), *weights]
    return sorted({uri for uri in named if uri.startswith(("/", "~"))})


def _places(value: Any) -> Iterator[str]:
    """Every ``uri`` of a job and of its targets; parameters of methods and metrics are another matter."""
    if not isinstance(value, Mapping):
        return
    for key, each in value.items():
        if key == "uri":
            yield from [each] if isinstance(each, str) else each
        elif key not in ("params", "metrics", "weights"):
            yield from _places(each)
