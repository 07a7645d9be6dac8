"""`sceneshift submit`."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console import DONE, FAILED, Console
from jobs.places import with_absolute_weights
from jobs.submission import MARK, AtWork, Head, read_env_file
from methods.environment import VARIABLE
from methods.errors import InputError
from methods.uris import resolved, uris
from pipeline.spec import JobSpec, fingerprint, read_tree
from pipeline.uris import protocol_of, redact

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from pipeline.training.distillation import DistillSpec
    from pipeline.training.spec import TrainSpec

_MIRRORED = (0, 1, 2, 3)
_VARIABLES = "sceneshift-environment.json"
_EARLY = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHASHSEED")


@dataclass(frozen=True)
class Submission:
    """What is to be submitted.

    Attributes:
        path: of the job, training or distillation file.
        overrides: ``dotted.key=value``.
        working_dir: folder that is uploaded; ``None`` uploads the file alone, with its local paths made absolute.
        image: container image that the job works in, instead of an upload.
        env_file: lines of ``KEY=VALUE``.
        cpus: of the driver; ``None`` leaves it on the head node.
    """

    path: Path
    overrides: tuple[str, ...] = ()
    working_dir: Path | None = None
    image: str | None = None
    env_file: Path | None = None
    cpus: float | None = None


def submit_command(
    console: Console,
    order: Submission,
    address: str,
    *,
    wait: bool,
    stop_on_exit: bool,
    if_busy: Literal["fail", "skip", "follow"] = "fail",
) -> int:
    """Check the file, submit it, and with ``wait`` follow it; the exit code is then the job's.

    A job that is at work on the cluster already is refused, left to itself, or with ``if_busy="follow"`` waited for as
    if it had been submitted now: a scheduler whose own process died tries again while the job lives.
    """
    if order.working_dir is not None and order.image is not None:
        raise InputError("--working-dir and --image exclude each other: an image holds its files already")
    if stop_on_exit and not wait:
        raise InputError("--stop-on-exit: a job that is not waited for cannot be stopped at the end; add --wait")
    if if_busy == "follow" and not wait:
        raise InputError("--if-busy follow: says what to wait for; add --wait")
    command, spec = checked(order.path, order.overrides)
    with _packed(order, command, spec) as (entrypoint, runtime_env):
        head = Head(address)
        try:
            id_ = head.submit(
                spec.name,
                fingerprint(spec.model_dump(mode="json", exclude={"name", "compute"})),
                entrypoint=entrypoint,
                runtime_env=runtime_env,
                metadata={MARK: command, "name": spec.name, "output": redact(spec.output.uri)},
                entrypoint_num_cpus=order.cpus,
            )
        except AtWork as error:
            if if_busy == "fail":
                raise
            if if_busy == "skip":
                console.problem(f"skipped: {error}")
                console.result({"id": error.id_, "address": head.address, "status": "SKIPPED", "reason": str(error)})
                return DONE
            console.progress(f"{error.id_} is at work on {head.address} already: following it")
            return _followed(console, head, error.id_, stop_on_exit=stop_on_exit)
    where = "on the head node" if order.cpus is None else f"on a node with {order.cpus:g} free CPUs"
    console.progress(f"submitted {id_} to {head.address}; its driver runs {where}")
    if protocol_of(spec.output.uri) == "file":
        console.note(f"{spec.output.uri} must be a disk that every machine of the cluster shares")
    if not wait:
        console.result({"id": id_, "address": head.address, "output": redact(spec.output.uri), "status": "PENDING"})
        console.say(f"{id_}\n  log   sceneshift logs {id_} -f\n  stop  sceneshift stop {id_}")
        return DONE
    return _followed(console, head, id_, stop_on_exit=stop_on_exit)


def _followed(console: Console, head: Head, id_: str, *, stop_on_exit: bool) -> int:
    """Hand on the log of a submission to its end; the job's exit code."""
    with _terminated_as_interrupted(stop_on_exit):
        try:
            found = head.follow(id_, sys.stderr.write)
        except KeyboardInterrupt:
            if stop_on_exit:
                console.problem(f"stopping {id_}")
                head.stop(id_)
            else:
                console.problem(f"{id_} goes on; `sceneshift stop {id_}` stops it")
            raise
    code = exit_code(found)
    console.result({"id": id_, "address": head.address, "status": str(found.status.value), "exit_code": code})
    console.say(f"{id_}: {found.status.lower()}, exit code {code}")
    return code


def exit_code(job: JobDetails) -> int:
    """The exit code of the job's own command; 3 where it was stopped or never got as far."""
    code = job.driver_exit_code
    if job.status == "STOPPED" or code not in _MIRRORED:
        return DONE if job.status == "SUCCEEDED" else FAILED
    return code


def checked(path: Path, overrides: tuple[str, ...]) -> tuple[str, JobSpec | TrainSpec | DistillSpec]:
    """The command that works a file off (``run``, ``train``, ``distill``) and its content, found to be right.

    Raises:
        InputError: as the command itself would, as far as it can be said without the source and the weights.
    """
    tree = read_tree(path, overrides, "a job is a mapping with `source`, `method` and `output`")
    if "teacher" in tree:
        from pipeline.training.distillation import DistillSpec

        return "distill", DistillSpec.load(path, overrides)
    if "objective" in tree:
        from pipeline.training.spec import TrainSpec

        return "train", TrainSpec.load(path, overrides)
    from pipeline.job import check

    spec = JobSpec.load(path, overrides)
    check(spec)
    return "run", spec


@contextlib.contextmanager
def _packed(
    order: Submission, command: str, spec: JobSpec | TrainSpec | DistillSpec
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The command line of the job and Ray's runtime environment for it; what it uploads lives as long as the context.

    Overrides stand on the command line, which others see, only where the file is not ours to write.
    """
    variables = read_env_file(order.env_file) if order.env_file else {}
    words = [word for each in order.overrides for word in ("--set", each)]
    if order.image is not None or order.working_dir is not None:
        _refuse_relative_output(order)
    if order.image is not None:
        # Nothing can be uploaded beside an image.
        yield _entrypoint(command, str(order.path), *words), {"env_vars": variables, "image_uri": order.image}
        return
    with tempfile.TemporaryDirectory() as folder:
        if order.working_dir is not None:
            entrypoint = _entrypoint(command, str(_inside(order.path, order.working_dir)), *words)
            source = order.working_dir.resolve()
        else:
            tree = with_absolute_weights(spec.model_dump(mode="json", exclude_unset=True), _weights(spec))
            # RAY_ADDRESS, which Ray Jobs sets, or `auto` for what would else work in the driver itself
            tree.setdefault("compute", {})["address"] = None if command == "run" else "auto"
            # JSON is YAML
            (Path(folder) / "job.yaml").write_text(json.dumps(tree, indent=1), encoding="utf-8")
            entrypoint, source = _entrypoint(command, "job.yaml"), Path(folder)
        if not variables:
            yield entrypoint, {"env_vars": {}, "working_dir": str(source)}
            return
        with _beside(source, json.dumps(variables)) as together:
            # Some variables are for the processes themselves, and asked for before a line of ours runs.
            early = {name: value for name, value in variables.items() if name in _EARLY}
            yield entrypoint, {"env_vars": early | {VARIABLE: _VARIABLES}, "working_dir": str(together)}


def _inside(path: Path, working_dir: Path) -> Path:
    """The job's file as it is found in the folder that is uploaded."""
    folder = working_dir.resolve()
    if not folder.is_dir():
        raise InputError(f"--working-dir {working_dir}: no such folder")
    if not path.resolve().is_relative_to(folder):
        raise InputError(f"{path}: lies outside --working-dir {working_dir}, which is what is uploaded")
    return path.resolve().relative_to(folder)


@contextlib.contextmanager
def _beside(folder: Path, variables: str) -> Iterator[Path]:
    """A folder of links to what is in another one, with the file of variables beside it."""
    with tempfile.TemporaryDirectory() as together:
        for each in folder.iterdir():
            # A file of that name, of a job that submits another one, is replaced here and not written to.
            if each.name != _VARIABLES:
                (Path(together) / each.name).symlink_to(each)
        (Path(together) / _VARIABLES).write_text(variables, encoding="utf-8")
        yield Path(together)


def _entrypoint(*words: str) -> str:
    return shlex.join(["sceneshift", *words])


def _weights(spec: JobSpec | TrainSpec | DistillSpec) -> Sequence[str]:
    """Every file that the job's methods and metrics, of all targets, or the training's objective loads."""
    if isinstance(spec, JobSpec):
        from pipeline.job import weight_uris

        return weight_uris(spec)
    if (objective := getattr(spec, "objective", None)) is None:
        # a distillation takes the weights that its teacher's output names
        return ()
    from methods.train.registry import resolve

    return uris(resolved(resolve(objective.name, objective.params)[1]))


def _refuse_relative_output(order: Submission) -> None:
    tree = read_tree(order.path, order.overrides, "a job is a mapping")
    uri = str((tree.get("output") or {}).get("uri"))
    if "://" not in uri and not uri.startswith(("/", "~", "$")):
        raise InputError(
            f"{order.path}: output.uri {uri}: a relative path would lie in the job's working copy and be lost with it; "
            "give an absolute path on a shared disk, or a bucket"
        )


@contextlib.contextmanager
def _terminated_as_interrupted(wanted: bool) -> Iterator[None]:
    """SIGTERM as SIGINT, where ``wanted``."""
    if not wanted:
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
