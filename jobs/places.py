"""Local paths of weights in a job file that is to be worked off from another folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def with_absolute_weights(tree: Any, weights: Iterable[str]) -> Any:
    """Plain data with each relative path of one of ``weights`` made absolute; all else as it is.

    Args:
        weights: absolute paths and URIs, as :func:`pipeline.job.weight_uris` lists them.
    """
    known = frozenset(weights)
    if isinstance(tree, Mapping):
        return {key: with_absolute_weights(value, known) for key, value in tree.items()}
    if isinstance(tree, list):
        return [with_absolute_weights(value, known) for value in tree]
    return _absolute(tree) if isinstance(tree, str) and _is_relative(tree, known) else tree


def relative_weights(tree: Any, weights: Iterable[str]) -> Iterator[str]:
    """The relative paths of ``weights`` in plain data, as they stand there."""
    known = frozenset(weights)
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from relative_weights(value, known)
    elif isinstance(tree, str) and _is_relative(tree, known):
        yield tree


def _is_relative(text: str, known: frozenset[str]) -> bool:
    # text of any kind stands in a job: captions, expressions; environment variables mean what they mean over there
    if "\0" in text or "$" in text or "://" in text or os.path.isabs(text):
        return False
    return _absolute(text) in known


def _absolute(text: str) -> str:
    return os.path.realpath(os.path.expanduser(text))
