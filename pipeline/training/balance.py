"""Balanced sampling: every value of a column or label comes equally often, within each window of a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.records import Sample


def value_of(sample: Sample, name: str) -> str | None:
    """What a sample has under ``name``: a column, or a dotted path into its label JSON such as ``attributes.weather``.

    ``None`` where it has nothing there.
    """
    found: Any = sample.passthrough.get(name)
    if found is None and sample.labels_raw:
        try:
            found = json.loads(sample.labels_raw)
        except ValueError:
            return None
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    return None if found is None or isinstance(found, dict | list) else str(found)


def balanced(samples: Sequence[Sample], name: str, rng: np.random.Generator) -> list[Sample]:
    """As many samples as were given, each value equally often (to one), those without a value as one more of them.

    Rare values repeat, and frequent ones are left out at random; within a value every sample comes before one repeats.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(value_of(sample, name) or "", []).append(sample)
    names = sorted(groups)
    queues: dict[str, list[Sample]] = {value: [] for value in names}
    order: list[str] = []
    while len(order) < len(samples):
        order += [names[n] for n in rng.permutation(len(names))]
    found = []
    for value in order[: len(samples)]:
        if not queues[value]:
            queues[value] = [groups[value][n] for n in rng.permutation(len(groups[value]))]
        found.append(queues[value].pop())
    return found
