"""Distillation: a fast student trained on the pairs that a slow method made in a run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from methods.errors import InputError
from methods.train import registry
from pipeline import metrics
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.paths import JOB_FILE
from pipeline.spec import read_tree, validated
from pipeline.storage import StorageOptions, Store
from pipeline.training.spec import Every, MetricEntry, TrainingRunSpec, TrainSpec

SOURCE, OUTPUT = "source_image", "image"
"""The columns of a run with pairs: what was translated, and what came out."""


_SPELLED = (
    (r"validation\.count", "held_out"),
    (r"validation\.metrics", "metrics"),
    (r"(validation\.)?method\.params", "student.method_params"),
    (r"validation\.method", "student.method"),
    (r"objective\.params", "student.params"),
    (r"data\.\w+(?=:)", "teacher"),
    (r"where(?=:)", "teacher.where"),
)
"""What a training, or the job that tries its weights, calls a setting, and what a distillation does."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TeacherSpec(_Block):
    """The output of a ``run`` with ``output.pairs: true`` and ``format: parquet``."""

    uri: str
    """The output of the run whose pairs are learned from. All variants of a picture are pairs."""
    where: str | None = None
    """An expression over the run's metrics, such as ``structure < 0.02``: other pairs are left out."""
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds it."""


class StudentSpec(_Block):
    """What is trained, and the method that runs it."""

    objective: str = "pix2pix"
    """An objective that learns from pairs: ``pix2pix``, a Turbo one, or PITI's."""
    params: dict[str, Any] = {}
    """Parameters of the objective."""
    method: str | None = None
    """The method that loads its weights; that of the objective's name if left out."""
    method_params: dict[str, Any] = {}
    """That method's parameters on the held-out pictures."""

    @property
    def method_name(self) -> str:
        """The method that loads the weights; both parts of PITI are one method."""
        return self.method or ("piti" if self.objective.startswith("piti_") else self.objective)


class DistillSpec(TrainingRunSpec):
    """One distillation. ``DistillSpec.load`` reads it from YAML."""

    name: str = "distillation"
    """Name of the distillation."""
    teacher: TeacherSpec
    """The run whose pairs are learned from."""
    student: StudentSpec = StudentSpec()
    """What is trained on them."""
    held_out: Every = 16
    """Pictures that are held out from training, chosen by their keys, to compare student and teacher on."""
    metrics: list[MetricEntry] = Field(default=["psnr", "ssim", "structure"])
    """Metrics that compare student and teacher on the held-out pairs, at every validation and at the end."""
    ema: float | None = Field(default=0.999, gt=0, lt=1)
    """Decay of the averaged weights that are validated and exported; ``null`` for none."""

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> DistillSpec:
        """Read a YAML file. Raises InputError as :meth:`pipeline.spec.JobSpec.load`."""
        tree = read_tree(path, overrides, "a distillation is a mapping with `teacher`, `student` and `output`")
        return validated(cls, tree, str(path))


def open_teacher(spec: DistillSpec) -> tuple[Store, Job]:
    """The teacher's output and its job.

    Raises:
        InputError: no output of ours, one without pairs, or one in tars.
    """
    store = Store(spec.teacher.uri, spec.teacher.storage)
    record = stored_job(store)
    if record is None:
        raise InputError(f"teacher {store.uri()}: no output of `sceneshift run` (no {JOB_FILE})")
    job = Job.from_record(record, store)
    if not job.spec.output.pairs:
        raise InputError(
            f"teacher {store.uri()}: has no source pictures beside its translations: run it with pairs: true"
        )
    if job.spec.output.format != "parquet":
        raise InputError(f"teacher {store.uri()}: is in format {job.spec.output.format}, expected parquet")
    return store, job


def as_distillation(text: str) -> str:
    """What is said of the training that a distillation makes, or of a job with its weights, in its own settings."""
    for theirs, ours in _SPELLED:
        text = re.sub(rf"(?<![\w.]){theirs}", ours, text)
    return text


@contextlib.contextmanager
def spelled_as_distillation() -> Iterator[None]:
    """Inside, what is wrong is said of the distillation's own settings, as of :func:`as_distillation`.

    Raises:
        InputError: in place of one that names others.
    """
    try:
        yield
    except InputError as error:
        raise InputError(as_distillation(str(error))) from None


def training_spec(spec: DistillSpec, store: Store) -> TrainSpec:
    """What ``train`` is asked to do.

    Raises:
        InputError: an unknown metric, or an objective that does not learn from pairs.
    """
    for name in spec.metrics:
        metrics.columns(name)
    student = spec.student
    info, params = registry.resolve(student.objective, student.params)
    if info.pairs is None or (info.pairs == "both" and not getattr(params, "paired", False)):
        how = " with these parameters (lambda_rec and joint make it)" if info.pairs else ""
        raise InputError(f"student.objective '{info.name}' does not learn from pairs{how}")
    uris = [store.uri(entry.path) for entry in store.list("data") if entry.path.endswith(".parquet")]
    if not uris:
        raise InputError(f"teacher {store.uri()}: has no data files: nothing was translated")

    def source(image: str, target: str | None, masks: list[str]) -> dict[str, Any]:
        storage = spec.teacher.storage.model_dump(mode="json")
        columns = {"image": image, "target": target, "caption": "caption", "labels": {"format": "auto"}}
        return {"uri": uris, "format": "parquet", "carry": [], "masks": masks, "storage": storage, **columns}

    first, *others = info.streams
    given = dict(student.params)
    validation: dict[str, Any] = {"count": spec.held_out}
    if info.pairs == "condition":
        data = {first: source(OUTPUT, None, [SOURCE])}
        given |= {"column": SOURCE}
    else:
        data = {first: source(SOURCE, OUTPUT, [])} | {name: source(OUTPUT, SOURCE, []) for name in others}
        method = {"name": student.method_name, "params": student.method_params}
        validation |= {"metrics": spec.metrics, "method": method}
    shared = spec.model_dump(mode="json", include=set(TrainingRunSpec.model_fields))
    return TrainSpec.parse(
        {
            **shared,
            "objective": {"name": student.objective, "params": given},
            "data": data,
            "where": {} if spec.teacher.where is None else dict.fromkeys(data, spec.teacher.where),
            "validation": validation,
        }
    )
