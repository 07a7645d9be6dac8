"""Distillation: a fast student trained on the pairs of a slow method, and how well it agrees on held-out ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict, Field

import methods
from methods.base import Batch, Inputs, sample_seed, to_uint8
from methods.errors import BadSample, InputError
from methods.train import registry
from pipeline import codec, metrics
from pipeline.job import Job, stored_job
from pipeline.metrics.base import Pictures
from pipeline.paths import JOB_FILE
from pipeline.resample import resample
from pipeline.runlog import read_runs
from pipeline.spec import read_tree, validated
from pipeline.storage import StorageOptions, Store
from pipeline.training.held_out import HeldOut, hold_out
from pipeline.training.spec import TrainComputeSpec, TrainOutputSpec, TrainSpec

REPORT = "distill.json"
Every = Annotated[int, Field(ge=1)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TeacherSpec(_Block):
    """The output of a ``run`` with ``output.pairs: true`` and ``format: parquet``."""

    uri: str
    """The output of the run whose pairs are learned from."""
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds it."""


class StudentSpec(_Block):
    """What is trained, and the method that runs it."""

    objective: str = "pix2pix"
    """An objective with one stream of pairs: ``pix2pix``, or a Turbo one."""
    params: dict[str, Any] = {}
    """Parameters of the objective."""
    method: str | None = None
    """The method that loads its weights; the objective's name if left out."""
    method_params: dict[str, Any] = {}
    """That method's parameters on the held-out pictures."""


class DistillSpec(_Block):
    """One distillation. ``DistillSpec.load`` reads it from YAML."""

    name: str = "distillation"
    """Name of the distillation."""
    teacher: TeacherSpec
    """The run whose pairs are learned from."""
    student: StudentSpec = StudentSpec()
    """What is trained on them."""
    output: TrainOutputSpec
    """Where the student, its checkpoints and the comparison go."""
    held_out: Every = 16
    """Pairs that are held out from training, chosen by their keys; the student is compared with the teacher on them."""
    metrics: list[str] = ["psnr", "ssim", "structure"]
    """Metrics that compare student and teacher on the held-out pairs."""
    steps: Literal["auto"] | Every = "auto"
    """Optimizer steps; ``auto`` takes the objective's published number."""
    batch_size: Literal["auto"] | Every = "auto"
    """Samples per step and worker; ``auto`` takes the objective's published number."""
    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks' arithmetic; weights and optimizers are float32 either way."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Memory layout of convolutions; which one is faster depends on the machine."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    """Decay of the averaged weights that are validated and exported; ``null`` for none."""
    checkpoint_every: Every = 500
    """Steps between checkpoints; the last step always writes one."""
    validate_every: Every = 500
    """Steps between validations; the last step always validates."""
    log_every: Every = 20
    """Steps between lines of the log."""
    compute: TrainComputeSpec = TrainComputeSpec()
    """Where the work is done."""

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> DistillSpec:
        """Read a YAML file. Raises InputError as :meth:`pipeline.spec.JobSpec.load`."""
        tree = read_tree(path, overrides, "a distillation is a mapping with `teacher`, `student` and `output`")
        return validated(cls, tree, str(path))


@dataclass(frozen=True)
class Split:
    """The teacher's pairs, divided by their keys.

    Attributes:
        files: its data files, names within its output.
        held_out: the keys that are kept from training.
        size: pairs in all.
    """

    files: tuple[str, ...]
    held_out: HeldOut
    size: int


@dataclass(frozen=True)
class Comparison:
    """Student against teacher on held-out pairs.

    Attributes:
        pictures: how many.
        agreement: mean of each metric between the student's pictures and the teacher's.
        untouched: the same for the source pictures as they are: what doing nothing scores.
        teacher_seconds, student_seconds: device time a picture; the teacher's as its run log has it, ``None`` without.
        speedup: their ratio.
    """

    pictures: int
    agreement: dict[str, float]
    untouched: dict[str, float]
    teacher_seconds: float | None
    student_seconds: float
    speedup: float | None


def open_teacher(spec: DistillSpec) -> tuple[Store, Job]:
    """The teacher's output and its job.

    Raises:
        InputError: no output of ours, one without pairs, or one in tars.
    """
    store = Store(spec.teacher.uri, spec.teacher.storage)
    tree = stored_job(store)
    if tree is None:
        raise InputError(f"teacher {store.uri()}: no output of `sceneshift run` (no {JOB_FILE})")
    job = Job.from_description(tree, store)
    if not job.spec.output.pairs:
        raise InputError(
            f"teacher {store.uri()}: has no source pictures beside its translations: run it with pairs: true"
        )
    if job.spec.output.format != "parquet":
        raise InputError(f"teacher {store.uri()}: is in format {job.spec.output.format}, expected parquet")
    return store, job


def split(store: Store, held_out: int) -> Split:
    """Hold out ``held_out`` of the teacher's pairs; training reads the others, and finds the same division by itself.

    Raises:
        InputError: nothing would be left to train on.
    """
    files = tuple(entry.path for entry in store.list("data") if entry.path.endswith(".parquet"))
    size = sum(_metadata(store, name).num_rows for name in files)
    if size <= held_out:
        raise InputError(
            f"teacher {store.uri()}: {size} pairs, of which held_out keeps {held_out} from training: make more pairs, "
            "or lower held_out"
        )
    return Split(files, hold_out(held_out, size, lambda: _keys(store, files)), size)


def _metadata(store: Store, name: str) -> pq.FileMetaData:
    with store.fs.open(store.path(name), "rb") as file:
        return pq.read_metadata(file)


def _keys(store: Store, files: Sequence[str]) -> Iterable[str]:
    for name in files:
        with store.fs.open(store.path(name), "rb") as file:
            yield from pq.read_table(file, columns=["key"], use_threads=False)["key"].to_pylist()


def training_spec(spec: DistillSpec, store: Store, files: Split) -> TrainSpec:
    """What ``train`` is asked to do.

    Raises:
        InputError: an unknown metric, or an objective that does not learn from one stream of pairs.
    """
    for name in spec.metrics:
        metrics.columns(name)
    info, _ = registry.resolve(spec.student.objective, spec.student.params)
    if len(info.streams) != 1:
        wanted = ", ".join(info.streams)
        raise InputError(f"student.objective '{info.name}' draws from {wanted}, expected one stream of pairs")
    (stream,) = info.streams

    def source(names: Sequence[str]) -> dict[str, Any]:
        uris = [store.uri(name) for name in names]
        columns = {"image": "source_image", "target": "image", "caption": "caption", "labels": {"format": "auto"}}
        storage = spec.teacher.storage.model_dump(mode="json")
        return {"uri": uris, "format": "parquet", "carry": [], "masks": [], "storage": storage, **columns}

    copied = ("name", "steps", "batch_size", "seed", "precision", "memory_format", "ema")
    every = ("checkpoint_every", "validate_every", "log_every")
    return TrainSpec.parse(
        {
            "objective": {"name": spec.student.objective, "params": spec.student.params},
            "data": {stream: source(files.files)},
            "validation": {"count": spec.held_out},
            "output": spec.output.model_dump(mode="json"),
            "compute": spec.compute.model_dump(mode="json"),
            **{name: getattr(spec, name) for name in (*copied, *every)},
        }
    )


def compare(
    spec: DistillSpec, store: Store, files: Split, weights: str, note: Callable[[str], None] = lambda text: None
) -> Comparison:
    """Run the student on the held-out pairs and compare.

    Args:
        weights: what training wrote.
        note: called with a line about each pair that the student refuses.

    Raises:
        InputError: the weights do not load as the student's method, or it refuses every pair.
    """
    device = "cuda" if spec.compute.gpus else "cpu"
    name = spec.student.method or spec.student.objective
    student = methods.load(name, weights=weights, device=device, **spec.student.method_params)
    sources, teachers, students, seconds = [], [], [], 0.0
    for key, caption, before, after in _pairs(store, files):
        try:
            prepared = student.prepare(Inputs(key, before, caption))[None].to(student.device)
            batch = Batch(prepared, [sample_seed(spec.seed, key)], [key], [caption], [{}])
            if not students:
                # the first call of a process is not like the others
                student.translate(batch)
            picture, took = _timed(student, batch)
        except BadSample as error:
            note(f"{key}: {error}")
            continue
        seconds += took
        size = (after.shape[1], after.shape[0])
        students.append(resample(picture, size))
        sources.append(resample(before, size))
        teachers.append(after)
    if not students:
        raise InputError(f"student '{name}' refuses every held-out pair of {store.uri()}")
    student_seconds = seconds / len(students)
    teacher_seconds = _teacher_seconds(store)
    built = metrics.build(spec.metrics, device=device)
    return Comparison(
        pictures=len(students),
        agreement=_compared(built, teachers, students),
        untouched=_compared(built, teachers, sources),
        teacher_seconds=teacher_seconds,
        student_seconds=student_seconds,
        speedup=None if teacher_seconds is None else teacher_seconds / student_seconds,
    )


def write_report(spec: DistillSpec, teacher: Job, weights: str, comparison: Comparison) -> dict[str, Any]:
    """Put the comparison and the student's ``method`` block, ready for a job file, beside the weights."""
    method: dict[str, Any] = {"name": spec.student.method or spec.student.objective, "weights": weights}
    if spec.student.method_params:
        method["params"] = spec.student.method_params
    report = {"teacher": teacher.method_label, "method": method, **asdict(comparison)}
    Store(spec.output.uri, spec.output.storage).put(REPORT, json.dumps(report, indent=1).encode())
    return report


def _pairs(store: Store, files: Split) -> Iterable[tuple[str, str | None, np.ndarray, np.ndarray]]:
    """Key, caption, source and the teacher's picture of every held-out pair."""
    for path in files.files:
        with store.fs.open(store.path(path), "rb") as file:
            columns = ["key", "caption", "source_image", "image"]
            for batch in pq.ParquetFile(file).iter_batches(batch_size=16, columns=columns):
                for row in batch.to_pylist():
                    if row["key"] in files.held_out:
                        before, after = codec.decode(row["source_image"]), codec.decode(row["image"])
                        yield row["key"], row["caption"], before.pixels, after.pixels


def _timed(student: methods.Method, batch: Batch) -> tuple[np.ndarray, float]:
    cuda = student.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    images = student.translate(batch)
    if cuda:
        torch.cuda.synchronize()
    return to_uint8(images)[0], time.perf_counter() - began


def _teacher_seconds(store: Store) -> float | None:
    runs = read_runs(store)
    pictures = sum(sum(runs[column].to_pylist()) for column in ("ok", "filtered"))
    seconds = sum(runs["device_seconds"].to_pylist())
    return seconds / pictures if pictures and seconds else None


def _compared(built: Sequence[Any], wanted: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
    pictures = Pictures(source=wanted, output=found, target=[None] * len(found))
    means: dict[str, float] = {}
    for metric in built:
        for column, values in metric.measure(pictures).values.items():
            mean = float(np.mean(values))
            # columns against a target have none here
            if not np.isnan(mean):
                means[column] = mean
    return means
