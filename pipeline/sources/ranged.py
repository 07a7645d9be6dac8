"""A large object of a store, read forwards as if it were a file, with several of its ranges on their way."""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

from pipeline.storage import StorageOptions, Store, explained

BLOCK = 8 << 20
"""Bytes of one request."""

AHEAD = 4
"""Requests in flight."""


def open_ranged(uri: str, storage: StorageOptions) -> BinaryIO:
    """A file to be read mostly forwards. On a disk it is just opened.

    Raises:
        InputError: nothing there. A store that does not answer, now or later, is an Unreachable.
    """
    store = Store(uri, storage)
    if store.local:
        return store.open("")
    with explained(uri):
        size = store.fs.info(store.path()).get("size")
    # A store that does not say how large its object is cannot be asked for ranges either.
    return store.open("") if size is None else cast("BinaryIO", io.BufferedReader(_Ranged(store, int(size)), 1 << 16))


class _Ranged(io.RawIOBase):
    """Blocks that are asked for before they are read; a jump drops those that it passes."""

    def __init__(self, store: Store, size: int) -> None:
        self._store, self._size, self._at = store, size, 0
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="range")
        self._blocks: dict[int, Future[bytes]] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= self._size:
            return 0
        number, skip = divmod(self._at, BLOCK)
        part = memoryview(self._block(number))[skip : skip + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _block(self, number: int) -> bytes:
        wanted = range(number, min(number + AHEAD, -(-self._size // BLOCK)))
        for passed in self._blocks.keys() - set(wanted):
            self._blocks.pop(passed).cancel()
        for each in wanted:
            if each not in self._blocks:
                self._blocks[each] = self._pool.submit(self._fetch, each)
        return self._blocks[number].result()

    def _fetch(self, number: int) -> bytes:
        start = number * BLOCK
        with explained(self._store.uri()):
            return self._store.fs.cat_file(self._store.path(), start=start, end=min(start + BLOCK, self._size))
