"""Many small reads from a store that takes its time: several at once, in order, and never more than a few in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

READS = 16
"""Reads of small objects that one process has under way; a store answers each after some 50 ms."""


def map_ahead(
    function: Callable[[_In], _Out], items: Iterable[_In], threads: int = READS
) -> Iterator[tuple[_In, _Out]]:
    """Each item with its result, in order; at most ``threads`` are worked on or wait for their turn.

    What the function raises is raised when the item's turn has come.
    """
    waiting: deque[tuple[_In, Future[_Out]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > threads:
                first, result = waiting.popleft()
                yield first, result.result()
        for first, result in waiting:
            yield first, result.result()
