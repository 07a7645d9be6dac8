"""Figures of whole sets, from the features that the workers left in an output."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import numpy as np

from pipeline import metrics
from pipeline.job import Job
from pipeline.metrics.set_features import RANK, FeatureReader
from pipeline.metrics.set_metric import none_of
from pipeline.output.reference import reference_features
from pipeline.paths import FEATURES, part_path
from pipeline.small_parquet import read_small_parquet
from pipeline.storage import Store


def set_figures(job: Job, shards: Collection[str], kept: Collection[int] | None) -> tuple[dict[str, float], list[str]]:
    """The figures of all of the job's metrics of whole sets, by name, and what one has to know to read them.

    Args:
        shards: ids of the committed ones; what others have left behind does not count.
        kept: ranks of the pictures that count, where a filter of the output has taken some; ``None`` for all.

    Raises:
        InputError: the job's reference cannot be read any more.
    """
    stored = StoredFeatures(job.store, shards, kept)
    if not stored.names:
        of_sets = [metrics.resolve(entry)[0] for entry in job.metric_entries]
        return {}, [none_of(info.name, 0, 0) for info in of_sets if info.of_set]
    built = metrics.build(job.metric_entries, device="cpu")
    return figures_of(job, stored, built, lambda: _middle_side(job.store, shards), filtered=kept is not None)


def _middle_side(store: Store, shards: Collection[str]) -> float | None:
    """Of the pictures of one shard, which stand for all; ``None`` where none has any."""
    for shard in sorted(shards):
        part = read_small_parquet(store.read(part_path(shard)), ["width", "height"])
        areas = [w * h for w, h in zip(part["width"].to_pylist(), part["height"].to_pylist(), strict=True) if w and h]
        if areas:
            return math.sqrt(statistics.median(areas))
    return None


def figures_of(
    job: Job,
    features: SetFeatures,
    built: Sequence[Any],
    side: Callable[[], float | None] = lambda: None,
    *,
    filtered: bool = False,
) -> tuple[dict[str, float], list[str]]:
    """As :func:`set_figures`, of features wherever they are, by metrics that are built.

    Args:
        side: as of :func:`reference_features`.
        filtered: whether a filter of the output has taken pictures away; what ``combine`` is given does not follow it.
    """
    figures: dict[str, float] = {}
    of_sets = [metric for metric in built if hasattr(metric, "finish")]
    references, notes = reference_features(job, of_sets, side)
    for metric, reference in zip(of_sets, references, strict=True):
        found = metric.finish(features, reference)
        figures.update(found.values)
        notes += found.notes
    ranked = {name.removesuffix(f"_{RANK}") for name in features.names if name.endswith(f"_{RANK}")}
    unranked = [name for name in features.names if name not in ranked and not name.endswith(f"_{RANK}")]
    whole = {name: features.all(name) for name in sorted(unranked)}
    for metric in built:
        combined = metric.combine(whole)
        figures.update(combined)
        if filtered and combined:
            notes.append(
                f"{', '.join(sorted(combined))}: of all pictures, also of those that the filter has taken away"
            )
    return {name: float(value) for name, value in sorted(figures.items())}, notes


class SetFeatures(FeatureReader, Protocol):
    """Features of a set by name: those of metrics that take a sample, beside their pictures' ranks, and others."""

    @property
    def names(self) -> Collection[str]:
        """All there are."""
        ...

    def all(self, name: str) -> np.ndarray:
        """(n, D): every row."""
        ...


class StoredFeatures:
    """The features of an output's committed shards; ``names`` are all there are."""

    def __init__(self, store: Store, shards: Collection[str], kept: Collection[int] | None) -> None:
        self._store = store
        self._kept = None if kept is None else np.array(sorted(kept), np.int64)
        self._paths: dict[str, list[str]] = {}
        known = set(shards)
        for entry in store.list(FEATURES):
            name, _, file = entry.path.removeprefix(f"{FEATURES}/").partition("/")
            if file.removesuffix(".npy") in known:
                self._paths.setdefault(name, []).append(entry.path)
        self.names = set(self._paths)

    def all(self, name: str) -> np.ndarray:
        """(n, D): every row, in order of shards."""
        return np.concatenate([self._read(path) for path in self._paths[name]])

    def sample(self, name: str, count: int) -> np.ndarray | None:
        """As :class:`pipeline.metrics.set_features.FeatureReader`; other rows are not held in memory."""
        if name not in self._paths:
            return None
        ranks = [self._read(path)[:, 0] for path in self._paths[f"{name}_{RANK}"]]
        counted = [np.full(len(own), True) if self._kept is None else np.isin(own, self._kept) for own in ranks]
        every = np.sort(np.concatenate([own[mask] for own, mask in zip(ranks, counted, strict=True)]), kind="stable")
        if not len(every):
            return None
        last = every[min(count, len(every)) - 1]
        taken = [mask & (own <= last) for own, mask in zip(ranks, counted, strict=True)]
        rows = [self._read(path)[mask] for path, mask in zip(self._paths[name], taken, strict=True) if mask.any()]
        order = np.argsort(np.concatenate([own[mask] for own, mask in zip(ranks, taken, strict=True)]), kind="stable")
        return np.concatenate(rows)[order][:count]

    def _read(self, path: str) -> np.ndarray:
        return np.load(io.BytesIO(self._store.read(path)), allow_pickle=False)
