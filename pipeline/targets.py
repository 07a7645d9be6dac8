"""The job that each target of a job stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from methods.errors import InputError
from pipeline.spec import JobSpec, validated
from pipeline.target_spec import TargetMethodSpec, TargetSpec


def target_jobs(spec: JobSpec) -> dict[str, JobSpec]:
    """The job of each target by its name: the spec with what the target has of its own, its output below the spec's.

    A job without targets has none.

    Raises:
        InputError: the job of a target cannot work, such as an output where the source lies.
    """
    return {name: _job_of(spec, name, target) for name, target in spec.targets.items()}


def _job_of(spec: JobSpec, name: str, target: TargetSpec) -> JobSpec:
    tree, own = spec.as_tree(), target.model_dump(mode="json")
    tree["name"] = f"{spec.name}-{name}"
    tree["method"] = _method(tree["method"], target.method)
    labels = tree["source"]["labels"]
    labels["set"] |= own["labels"]["set"]
    labels["caption"] = own["labels"]["caption"] or labels["caption"]
    tree["output"]["uri"] = f"{spec.output.uri.rstrip('/')}/{name}"
    tree |= {key: own[key] for key in ("metrics", "metrics_reference", "keep") if own[key] is not None}
    del tree["targets"]
    return validated(JobSpec, tree, f"target {name}")


def _method(job: dict[str, Any], target: TargetMethodSpec) -> dict[str, Any]:
    own = target.model_dump(mode="json")
    if own["name"] not in (None, job["name"]):
        return own
    changed = dict(job)
    if own["preset"] is not None:
        changed |= {"preset": own["preset"], "weights": None}
    if own["weights"] is not None:
        changed["weights"] = own["weights"]
    changed["params"] = job["params"] | own["params"]
    return changed


@contextlib.contextmanager
def naming(target: str) -> Iterator[None]:
    """Inside, a mistake in the input says which target it is about; of a job without targets as it is."""
    try:
        yield
    except InputError as error:
        if not target:
            raise
        raise type(error)(f"target {target}: {error}") from None
