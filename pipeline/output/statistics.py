"""The statistics of a dataset: the features of a fixed sample of its pictures."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.metrics.base import Pictures
from pipeline.metrics.reference import Statistics
from pipeline.metrics.set_features import rank
from pipeline.records import Sample
from pipeline.sources import detect, open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from pipeline.uris import redact

_BATCH = 32


@dataclass
class _Network:
    """The pictures of lowest rank that one network has seen: a heap of (-rank, number, features)."""

    metric: Any
    most: int
    kept: list[tuple[int, int, np.ndarray]] = field(default_factory=list)

    def wants(self, place: int) -> bool:
        return len(self.kept) < self.most or -place > self.kept[0][0]

    def add(self, place: int, number: int, features: np.ndarray) -> None:
        entry = (-place, number, features)
        if len(self.kept) < self.most:
            heapq.heappush(self.kept, entry)
        elif entry > self.kept[0]:
            heapq.heapreplace(self.kept, entry)

    def features(self) -> np.ndarray:
        return np.stack([features for _, _, features in sorted(self.kept, key=lambda each: (-each[0], each[1]))])


def dataset_statistics(
    source: SourceSpec,
    set_metrics: Sequence[Any],
    networks: Mapping[str, str],
    say: Callable[[int], None] = lambda seen: None,
) -> Statistics:
    """The features that the metrics of sets would compare, of a dataset's pictures as they are.

    Pictures that cannot be decoded are left out, and counted. A network only sees pictures that belong to its sample
    so far: of a hundred times as many, five times the sample.

    Args:
        networks: what stands for the content of each network's weights, by URI.
        say: called with the number of pictures seen, every batch.

    Raises:
        InputError: nothing is found, or fewer than two pictures can be decoded.
    """
    wanted: dict[str, _Network] = {}
    for metric in set_metrics:
        name, most = metric.params.set_name(), metric.params.sample
        if name not in wanted or wanted[name].most < most:
            wanted[name] = _Network(metric, most)
    sides: list[float] = []
    seen = unreadable = 0
    for samples in _batches(source):
        taken = [(rank(sample.key, 0), sample) for sample in samples]
        decoded: dict[int, np.ndarray] = {}
        for at, (place, sample) in enumerate(taken):
            if not any(network.wants(place) for network in wanted.values()):
                continue
            if sample.image is None:
                unreadable += 1
                continue
            try:
                decoded[at] = codec.decode(sample.image).pixels
            except BadSample:
                unreadable += 1
        pictures = list(decoded.values())
        sides += [math.sqrt(each.shape[0] * each.shape[1]) for each in pictures]
        batch = Pictures(pictures, pictures, [None] * len(pictures))
        for network in wanted.values():
            which = [network.wants(taken[at][0]) for at in decoded]
            found = network.metric.load().of(batch, "output", which)
            for at, features in zip(decoded, found, strict=True):
                if features is not None:
                    network.add(taken[at][0], seen + at, features)
        seen += len(samples)
        say(seen)
    where = redact(source.uris[0])
    if any(len(network.kept) < 2 for network in wanted.values()):
        raise InputError(f"{where}: {seen} samples, fewer than two of which can be decoded, are no set to compare with")
    return Statistics(
        source=where,
        pictures=seen,
        features={name: network.features() for name, network in wanted.items()},
        networks={name: network.metric.params.content(networks) for name, network in wanted.items()},
        side=statistics.median(sides),
        unreadable=unreadable,
    )


def _batches(spec: SourceSpec) -> Iterator[tuple[Sample, ...]]:
    format = detect(spec)
    source = open_source(spec, format, _BATCH)
    layout = resolve_layout(spec, format, _BATCH)
    for file in source.plan():
        for shard in source.read(file, layout, _BATCH):
            yield shard.samples
