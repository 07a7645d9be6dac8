"""How well a student agrees with its teacher on held-out pairs, how fast both are, what doing nothing would score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from methods.errors import InputError
from methods.nn.resample import resample
from methods.weights import fetch
from pipeline import codec, metrics, quantity
from pipeline import job as jobs
from pipeline.job import Job
from pipeline.metrics.base import Pictures
from pipeline.records import Sample, Shard
from pipeline.runlog import read_runs
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.training.distillation import SOURCE, DistillSpec
from pipeline.training.evaluation import from_condition
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Stream
from pipeline.uris import beside, tree_seen_from

REPORT = "distill.json"
_RESAMPLED = 2000

Interval = tuple[float, float]


@dataclass(frozen=True)
class StudentComparison:
    """Student against teacher on held-out pairs.

    Attributes:
        pictures: how many.
        agreement: mean of each metric between the student's pictures and the teacher's.
        untouched: the same for the source pictures as they are: what doing nothing scores.
        agreement_interval, untouched_interval: 95 % intervals of those means, from 2,000 resamples of the pictures.
        teacher_seconds, student_seconds: device time per picture; the teacher's is that of its run log, if any.
        speedup: their ratio.
        teacher_parameters, student_parameters: numbers in the weights; ``None`` where the file is not at hand.
    """

    pictures: int
    agreement: dict[str, float]
    untouched: dict[str, float]
    agreement_interval: dict[str, Interval]
    untouched_interval: dict[str, Interval]
    teacher_seconds: float | None
    student_seconds: float
    speedup: float | None
    teacher_parameters: int | None
    student_parameters: int | None


def compare(
    spec: DistillSpec,
    training: TrainSpec,
    teacher: Job,
    weights: str,
    note: Callable[[str], None] = lambda text: None,
) -> StudentComparison:
    """Translate the held-out pairs with the student, through the code of ``run``, and compare.

    Args:
        training: what was trained, as :func:`pipeline.training.distillation.training_spec` makes it.
        weights: what training wrote.
        note: called with a line about each pair that the student refuses.

    Raises:
        InputError: the weights do not load as the student's method, or it refuses every pair.
    """
    name = next(iter(training.data))
    stream = Stream(training.data[name], 0, spec.held_out, where=training.where.get(name))
    samples = [from_condition(sample, SOURCE) for sample in stream.kept(spec.held_out * stream.variants)]
    pictures, seconds = _translated(spec, training, teacher, weights, samples, note)
    if not pictures:
        raise InputError(f"student '{spec.student.method_name}' refuses every held-out pair of {spec.teacher.uri}")
    by_key = {sample.key: sample for sample in samples}
    wanted = [codec.decode(by_key[key].target or b"").pixels for key in pictures]
    sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in wanted]
    students = [resample(found, size) for found, size in zip(pictures.values(), sizes, strict=True)]
    originals = [codec.decode(by_key[key].image or b"").pixels for key in pictures]
    sources = [resample(pixels, size) for pixels, size in zip(originals, sizes, strict=True)]
    built = metrics.build(spec.metrics, device="cuda" if spec.compute.gpus else "cpu")
    agreement, untouched = (_values(built, wanted, found) for found in (students, sources))
    groups = [stream.picture_of(key) for key in pictures]
    student_seconds = seconds / len(pictures)
    teacher_seconds = _teacher_seconds(teacher.store)
    return StudentComparison(
        pictures=len(pictures),
        agreement={name: float(values.mean()) for name, values in agreement.items()},
        untouched={name: float(values.mean()) for name, values in untouched.items()},
        agreement_interval={name: bootstrap(values, groups) for name, values in agreement.items()},
        untouched_interval={name: bootstrap(values, groups) for name, values in untouched.items()},
        teacher_seconds=teacher_seconds,
        student_seconds=student_seconds,
        speedup=None if teacher_seconds is None else teacher_seconds / student_seconds,
        teacher_parameters=_parameters(teacher.weights),
        student_parameters=_parameters(weights),
    )


def bootstrap(values: np.ndarray, groups: Sequence[str]) -> Interval:
    """The 95 % interval of the mean of (N,) values by the percentile bootstrap, always the same for the same values.

    Whole groups are drawn: variants of one picture say less than as many pictures would.
    """
    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    sums, sizes = np.bincount(numbers, weights=values), np.bincount(numbers)
    drawn = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLED, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(found: StudentComparison, teacher: str, student: str) -> dict[str, Any]:
    """The comparison for the report and the card: teacher, student, and doing nothing."""
    names = list(found.agreement)

    def cells(means: Mapping[str, float], intervals: Mapping[str, Interval]) -> list[str]:
        return [
            f"{quantity.measured(means[name])} [{quantity.measured(intervals[name][0])}, "
            f"{quantity.measured(intervals[name][1])}]"
            if name in means
            else "–"
            for name in names
        ]

    def pace(seconds: float | None) -> str:
        return "–" if not seconds else quantity.measured(1 / seconds)

    def size(count: int | None) -> str:
        return "–" if count is None else f"{count / 1e6:.3g} M"

    rows = [
        (f"teacher: {teacher}", ["–"] * len(names), pace(found.teacher_seconds), size(found.teacher_parameters)),
        (
            f"student: {student}",
            cells(found.agreement, found.agreement_interval),
            pace(found.student_seconds),
            size(found.student_parameters),
        ),
        ("doing nothing", cells(found.untouched, found.untouched_interval), "–", "–"),
    ]
    return {
        "pictures": found.pictures,
        "columns": [*names, "images/s", "parameters"],
        "rows": [{"name": name, "cells": [*values, speed, count]} for name, values, speed, count in rows],
    }


def write_comparison(spec: DistillSpec, teacher: Job, weights: str, found: StudentComparison) -> dict[str, Any]:
    """Put the comparison and the student's ``method`` block, for a job file, beside the weights.

    Returns the same with the place of the weights on this machine. What is written travels with the output, and names
    it as report and card do: relative to the folder that holds the output.
    """
    method: dict[str, Any] = {"name": spec.student.method_name, "weights": weights}
    if spec.student.method_params:
        method["params"] = spec.student.method_params
    report = {"teacher": teacher.method_label, "method": method, **asdict(found)}
    store = Store(spec.output.uri, spec.output.storage)
    written = report | {"method": tree_seen_from(beside(store.uri()), method)}
    store.put(REPORT, json.dumps(written, indent=1).encode())
    return json.loads(json.dumps(report))


def _translated(
    spec: DistillSpec,
    training: TrainSpec,
    teacher: Job,
    weights: str,
    samples: Sequence[Sample],
    note: Callable[[str], None],
) -> tuple[dict[str, np.ndarray], float]:
    """The student's pictures by key, and the seconds that its device took."""
    from pipeline.translate.shard import translate_shard
    from pipeline.translate.translator import Translator

    source = next(iter(training.data.values())).model_dump(mode="json")
    source |= {"image": SOURCE, "target": None, "masks": [], "condition": teacher.spec.source.condition}
    tree = {
        "name": spec.name,
        "source": source,
        "method": {"name": spec.student.method_name, "weights": weights, "params": spec.student.method_params},
        "output": {"uri": spec.output.uri, "image": {"format": "png"}},
        "metrics": [],
        "compute": {"gpus": spec.compute.gpus, "torch_threads": spec.compute.torch_threads},
        "seed": spec.seed,
    }
    translator = Translator(jobs.prepare(JobSpec.model_validate(tree)))
    try:
        # the first call of a process is not like the others
        translate_shard(translator, Shard("first", "held out", 0, tuple(samples[:1]), last=True))
        done = translate_shard(translator, Shard("held out", "held out", 0, tuple(samples), last=True))
    finally:
        translator.close()
    for row in done.rows:
        if row.rejection is not None:
            note(f"{row.key}: {row.rejection.message}")
    return {row.key: codec.decode(row.image).pixels for row in done.rows if row.image is not None}, done.device_seconds


def _values(built: Sequence[Any], wanted: list[np.ndarray], found: list[np.ndarray]) -> dict[str, np.ndarray]:
    """By metric, a value per picture; metrics that have none for a pair of pictures are left out."""
    pictures = Pictures(source=wanted, output=found, target=[None] * len(found))
    values: dict[str, np.ndarray] = {}
    for metric in built:
        for column, each in metric.measure(pictures).values.items():
            array = np.asarray(each, np.float64)
            # columns against a target have none here
            if not np.isnan(array).any():
                values[column] = array
    return values


def _teacher_seconds(store: Store) -> float | None:
    runs = read_runs(store)
    pictures = sum(sum(runs[column].to_pylist()) for column in ("ok", "filtered"))
    seconds = sum(runs["device_seconds"].to_pylist())
    return seconds / pictures if pictures and seconds else None


def _parameters(weights: str | None) -> int | None:
    """How many numbers a file of weights holds, if it is here or bundled; nothing is downloaded for it."""
    if weights is None or not (weights.startswith("bundled://") or Path(weights.removeprefix("file://")).is_file()):
        return None
    try:
        with safe_open(fetch(weights), framework="np") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (SafetensorError, InputError):
        return None
