"""Samples of a store that is far away, fetched before their turn: many requests in flight, the order as it was."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

from pipeline.sources.pending import Fetched, Pending

IN_FLIGHT = 32
"""Requests of one reader at a time; one after the other, a store that takes 50 ms to answer gives 20 pictures/s."""

_HELD = 256 << 20
"""Bytes that may wait for their turn, whatever their number: pictures may be large."""


def fetched_ahead(
    pending: Iterable[Pending], wanted: Callable[[int], bool], limit: int | None = None
) -> Iterator[Pending]:
    """The same samples in the same order; those that are far away are on their way before they are asked for.

    What a fetch raises is raised when the sample's turn has come, and what the stream itself raises after the samples
    before it. A stream without such samples is not looked into ahead.

    Args:
        pending: the samples; ``remote`` marks those whose fetch is a request to a store, safe to call from any thread.
        wanted: from the number of a sample to whether it will be fetched.
        limit: samples after which nothing is asked for.
    """
    stream = enumerate(islice(pending, limit))
    window: deque[tuple[Pending, Future[Fetched] | None]] = deque()
    held = _Held()
    pool: ThreadPoolExecutor | None = None
    broken: Exception | None = None
    ended = False
    try:
        while True:
            flying = sum(future is not None for _, future in window)
            while not ended and (not window or (window[-1][0].remote and flying < IN_FLIGHT and held.size < _HELD)):
                if len(window) >= 4 * IN_FLIGHT:
                    break
                try:
                    number, each = next(stream, (-1, None))
                except Exception as error:
                    broken, ended = error, True
                    break
                if each is None:
                    ended = True
                    break
                future = None
                if each.remote and each.fetch is not None and each.problem is None and wanted(number):
                    pool = pool or ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="fetch")
                    future = pool.submit(held.fetch, each.fetch)
                    flying += 1
                window.append((each, future))
            if not window:
                break
            each, future = window.popleft()
            yield each if future is None else replace(each, fetch=held.taking(future))
        if broken is not None:
            raise broken
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class _Held:
    """Counts the bytes that were fetched and not yet taken."""

    def __init__(self) -> None:
        self.size = 0
        self._lock = threading.Lock()

    def fetch(self, fetch: Callable[[], Fetched]) -> Fetched:
        found = fetch()
        self._add(len(found[0].image or b""))
        return found

    def taking(self, future: Future[Fetched]) -> Callable[[], Fetched]:
        def take() -> Fetched:
            found = future.result()
            self._add(-len(found[0].image or b""))
            return found

        return take

    def _add(self, size: int) -> None:
        with self._lock:
            self.size += size
