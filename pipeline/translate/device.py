"""The thread that alone works the device: one call after the other, in the order they were handed in."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class DeviceThread:
    """Calls wait in a queue, so that the next one begins when the last one ends, whoever handed it in.

    A daemon, other than the threads of a pool: a method that hangs must not keep its process from ending.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="device", daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call; its result or exception comes with the future."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """End the thread after what is queued."""
        self._calls.put(None)

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            future, call = entry
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            # nothing of a batch is kept until the next one comes
            del entry, future, call
