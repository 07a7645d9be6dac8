"""A look at a training on the cluster that is to do it, before its output is touched."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from methods.errors import InputError, first_line
from methods.train.objective import Validation
from pipeline.errors import JobFailed
from pipeline.training.spec import TrainSpec

_log = logging.getLogger(f"sceneshift.{__name__}")


def look_on_ray(spec: TrainSpec, *, fresh: bool) -> Validation | None:
    """:func:`pipeline.training.run.look` as one task with what a worker gets; Ray must be connected.

    A worker's place is where the data, the weights and the GPU are, and this process may be at none of them.

    Raises:
        InputError: as :func:`pipeline.training.run.look`.
        JobFailed: the task was lost, or a bug of the objective.
    """
    import ray
    from ray.exceptions import RayError

    compute = spec.compute
    # a process of its own, which gives the device's memory back; a lost one has written nothing
    options = {"num_cpus": compute.cpus, "num_gpus": compute.gpus, "max_calls": 1, "max_retries": compute.max_failures}
    try:
        found, said = ray.get(ray.remote(**options)(_look).remote(spec.as_tree(), fresh))
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        raise JobFailed(
            f"a look at the training before it begins failed: {type(cause).__name__}: {first_line(cause)}"
        ) from error
    for text in said:
        _log.warning("%s", text)
    if isinstance(found, InputError):
        raise found
    return found


def _look(tree: dict[str, Any], fresh: bool) -> tuple[Validation | InputError | None, list[str]]:
    """What was found, or what is wrong, and the warnings on the way."""
    from pipeline.training.run import device_of, look

    spec = TrainSpec.model_validate(tree)
    with _warnings() as said:
        try:
            return look(spec, device_of(spec), fresh=fresh), said
        except InputError as error:
            return error, said


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """The warnings of this package that are logged inside: a worker's terminal is nobody's."""
    said: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, package = Kept(logging.WARNING), logging.getLogger("sceneshift")
    package.addHandler(handler)
    try:
        yield said
    finally:
        package.removeHandler(handler)
