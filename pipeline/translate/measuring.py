"""The metrics on a batch of finished pictures, and what they say of annotations put with the labels."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from methods.nn.resample import resample
from pipeline.job import Job
from pipeline.labels import Labels
from pipeline.labels.check_names import MEASURED
from pipeline.metrics.base import Metric, Pictures
from pipeline.translate.items import Item, Measures, Prepared
from pipeline.translate.labelling import moved_labels


def measured_pictures(job: Job, good: Sequence[tuple[Item, np.ndarray]], *, labels: bool) -> Pictures:
    """The batch as metrics see it; labels only where one of them asks for them.

    The variants of one sample, and the targets of a job, share one array of their source, so that networks look at it
    once.
    """
    sizes = [(picture.shape[1], picture.shape[0]) for _, picture in good]

    def fitted(item: Prepared, role: str, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        known = item.sizes.get((role, size))
        # another thread may have been as quick: the first array is that of all
        return item.sizes.setdefault((role, size), resample(pixels, size)) if known is None else known

    prepared = [item.prepared for item, _ in good]
    return Pictures(
        source=[fitted(each, "source", each.decoded.pixels, size) for each, size in zip(prepared, sizes, strict=True)],
        output=[picture for _, picture in good],
        target=[
            None if each.target is None else fitted(each, "target", each.target, size)
            for each, size in zip(prepared, sizes, strict=True)
        ],
        source_caption=[each.sample.caption for each in prepared],
        caption=[job.label_changes.captioned(each.sample.caption) for each in prepared],
        labels=[
            moved_labels(each.labels, (each.decoded.pixels.shape[1], each.decoded.pixels.shape[0]), size)
            for each, size in zip(prepared if labels else (), sizes, strict=labels)
        ],
        key=[(item.prepared.sample.key, item.variant) for item, _ in good],
    )


def measure(metrics: Sequence[Metric], pictures: Pictures, alone: AbstractContextManager[Any]) -> list[Measures]:
    """What all metrics say of each picture; ``alone`` is held by a metric that one thread at a time may call."""
    found = [Measures() for _ in range(len(pictures))]
    for metric in metrics:
        with contextlib.nullcontext() if getattr(metric, "concurrent", False) else alone:
            measured = metric.measure(pictures)
        for name, column in measured.values.items():
            for place, value in zip(found, column, strict=True):
                place.values[name] = float(value)
        for name, vectors in measured.features.items():
            for place, vector in zip(found, vectors, strict=True):
                if vector is not None:
                    place.features[name] = vector
        for place, every in zip(found, measured.annotations, strict=bool(measured.annotations)):
            place.annotations = place.annotations or [{} for _ in every]
            for annotation, said in zip(place.annotations, every, strict=True):
                annotation.update(said)
        for place, own in zip(found, measured.attributes, strict=bool(measured.attributes)):
            place.attributes.update(own)
    return found


def with_measures(labels: Labels | None, measured: Measures) -> Labels | None:
    """The labels with what was measured of the picture and of each annotation among their attributes."""
    if labels is None:
        return None
    if measured.attributes:
        labels = replace(labels, attributes={**labels.attributes, **measured.attributes})
    if not measured.annotations:
        return labels
    return replace(
        labels,
        annotations=[
            replace(each, attributes=each.attributes | {MEASURED: said}) if said else each
            for each, said in zip(labels.annotations, measured.annotations, strict=True)
        ],
    )
