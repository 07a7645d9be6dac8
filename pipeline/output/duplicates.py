"""Finding what occurs twice among very many, in bounded memory: digests go to files, which are looked at one by one."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import BinaryIO

import numpy as np

_BUCKETS = 64
_DIGEST = 16


class DuplicateFinder:
    """A set of texts that only knows how many were added twice, and which. A context manager; it holds open files."""

    def __init__(self) -> None:
        self._files: list[BinaryIO] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> DuplicateFinder:
        for _ in range(_BUCKETS):
            self._files.append(self._open.enter_context(tempfile.TemporaryFile()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def add(self, texts: Iterable[str]) -> None:
        """Note some texts."""
        for text in texts:
            value = digest(text)
            self._files[value[0] % _BUCKETS].write(value)

    def duplicates(self) -> set[bytes]:
        """The digests of texts that were added more than once."""
        found: set[bytes] = set()
        for file in self._files:
            file.seek(0)
            values = np.sort(np.frombuffer(file.read(), dtype=f"S{_DIGEST}"))
            again = values[1:][values[1:] == values[:-1]]
            # numpy drops zero bytes at the end of a byte string.
            found.update(bytes(value).ljust(_DIGEST, b"\0") for value in again)
        return found


def digest(text: str) -> bytes:
    """The 16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
