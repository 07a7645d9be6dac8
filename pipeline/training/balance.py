"""Balanced sampling: every value of a column or label comes equally often, within each window of a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.records import Sample


def value_of(sample: Sample, name: str) -> str | None:
    """What a sample has under ``name``: a column, or a dotted path into JSON.

    A path goes into the sample's labels (``attributes.weather``), or into a column or member that its first part names
    (``json.weather``). ``None`` where there is nothing.
    """
    if name in sample.passthrough:
        return _plain(sample.passthrough[name])
    column, _, rest = name.partition(".")
    found = _inside(sample.labels_raw, name)
    return _inside(sample.passthrough.get(column), rest) if found is None and rest else found


def _inside(text: Any, path: str) -> str | None:
    if not isinstance(text, str | bytes):
        return None
    try:
        found: Any = json.loads(text)
    except ValueError:
        return None
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return _plain(found)


def _plain(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list | bytes) else str(value)


def balanced(samples: Sequence[Sample], name: str, count: int, rng: np.random.Generator) -> list[Sample]:
    """``count`` of the samples, each value equally often (to one), those without a value as one more of them.

    Rare values repeat, and frequent ones are left out at random; within a value every sample comes before one repeats.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(value_of(sample, name) or "", []).append(sample)
    names = sorted(groups)
    queues: dict[str, list[Sample]] = {value: [] for value in names}
    order: list[str] = []
    while names and len(order) < count:
        order += [names[n] for n in rng.permutation(len(names))]
    found = []
    for value in order[:count]:
        if not queues[value]:
            queues[value] = [groups[value][n] for n in rng.permutation(len(groups[value]))]
        found.append(queues[value].pop())
    return found
