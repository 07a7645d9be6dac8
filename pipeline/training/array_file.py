"""Arrays kept on a disk, in one file that is gone with the process."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from methods.errors import InputError

_log = logging.getLogger(f"sceneshift.{__name__}")


@dataclass(frozen=True)
class Place:
    """Where in the file an array lies."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


class ArrayFile:
    """Takes arrays until ``limit`` bytes are full. Safe to use from several threads.

    The file has no name: its space is free again with this object, or with the process, however that ends.

    Args:
        limit: bytes.
        folder: on which disk; ``None`` for that of temporary files.

    Raises:
        InputError: no file can be made there.
    """

    def __init__(self, limit: int, folder: str | None = None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.size = 0
        """Bytes that are kept."""
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            where = folder or tempfile.gettempdir()
            raise InputError(f"compute.cache_folder: {where}: no file can be made here ({error.strerror})") from None

    def add(self, arrays: Sequence[np.ndarray]) -> list[Place] | None:
        """Keep all of the arrays; ``None`` where they no longer fit."""
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if self.size + size > self._limit:
                return None
            offset = self.size
            self.size += size
        places = []
        try:
            for array in arrays:
                _write(self._file.fileno(), np.ascontiguousarray(array), offset)
                places.append(Place(offset, array.shape, array.dtype))
                offset += array.nbytes
        except OSError as error:
            with self._lock:
                # what others have reserved behind it stays
                self._limit = 0
            _log.warning("compute.cache_disk_mb: decoded samples are no longer kept on disk: %s", error.strerror)
            return None
        return places

    def read(self, place: Place) -> np.ndarray:
        """An array that was kept; it cannot be written to."""
        found = np.empty(place.shape, place.dtype)
        view, done = found.reshape(-1).view(np.uint8).data, 0
        while done < found.nbytes:
            done += os.preadv(self._file.fileno(), [view[done:]], place.offset + done)
        found.flags.writeable = False
        return found


def _write(file: int, array: np.ndarray, offset: int) -> None:
    view, done = array.reshape(-1).view(np.uint8).data, 0
    while done < array.nbytes:
        done += os.pwrite(file, view[done:], offset + done)
