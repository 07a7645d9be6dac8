"""What the outputs of a job are compared with as a set: a dataset, or a file of its statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from methods.errors import InputError
from pipeline.job import Job
from pipeline.metrics.reference import Statistics, is_statistics
from pipeline.output.statistics import dataset_statistics
from pipeline.paths import REFERENCE_FILE
from pipeline.spec import SourceSpec
from pipeline.uris import redact

_OTHER_SIZE = 2.0
"""How many times larger or smaller pictures of a reference are said to be of another size."""


def reference_features(
    job: Job, set_metrics: Sequence[Any], side: Callable[[], float | None] = lambda: None
) -> tuple[list[np.ndarray | None], list[str]]:
    """The features of the job's reference for each of these metrics, ``None`` for one that uses none; and notes on it.

    Args:
        side: gives the side of the middle picture of the output, the root of its area, where that is known.

    The statistics of a dataset are made once, on the device of this process's metrics, and kept with the output.

    Raises:
        InputError: the reference cannot be read, or has not the features of a metric.
    """
    reference = job.spec.metrics_reference
    asking = [metric for metric in set_metrics if metric.params.against == "reference"]
    if reference is None or not asking:
        return [None] * len(set_metrics), []
    where = redact(reference.uri)
    if is_statistics(reference.uri):
        found = Statistics.read(reference.uri, reference.storage)
    else:
        found = _kept(job, where, asking)
        if found is None:
            source = SourceSpec(uri=reference.uri, storage=reference.storage)
            found = dataset_statistics(source, asking, job.metric_weights)
            job.store.put(REFERENCE_FILE, found.to_bytes())
    features = [_features(found, metric, job, where) if metric in asking else None for metric in set_metrics]
    own = side()
    if own is None or found.side is None or max(own, found.side) < _OTHER_SIZE * min(own, found.side):
        return features, []
    return features, [
        f"the pictures of {where} are about {found.side:,.0f} pixels a side, those of the output {own:,.0f}: networks "
        "see both at one size, so that sharpness counts as a difference; compare with pictures of the output's size"
    ]


def _features(found: Statistics, metric: Any, job: Job, where: str) -> np.ndarray:
    params = metric.params
    return found.of(params, params.content(job.metric_weights), where, metric.name)


def _kept(job: Job, where: str, asking: Sequence[Any]) -> Statistics | None:
    """The statistics that an earlier run kept, if they are of this reference, for all metrics that ask for them."""
    data = job.store.read_or_none(REFERENCE_FILE)
    if data is None:
        return None
    try:
        found = Statistics.from_bytes(data, job.store.uri(REFERENCE_FILE))
    except InputError:
        # damaged: made anew
        return None
    wanted = {metric.params.set_name(): metric.params.content(job.metric_weights) for metric in asking}
    return found if found.source == where and wanted.items() <= found.networks.items() else None
