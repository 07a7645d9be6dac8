"""Samples decoded for training, and a bounded memory of them."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np

from methods.base import Inputs
from methods.errors import BadSample
from pipeline import codec
from pipeline.labels import parse_sample
from pipeline.records import Sample


def decoded(sample: Sample) -> Inputs:
    """A sample as an objective's ``transform`` takes it.

    ``columns`` holds what the source carries, label maps decoded under their own names, and the true picture of the
    other domain as ``target`` (H, W, 3) uint8 where the source has one; ``boxes`` are those of its own label record.

    Raises:
        BadSample: a picture that cannot be decoded.
    """
    if sample.problem is not None or sample.image is None:
        problem = sample.problem
        raise BadSample(problem.error if problem else "no_image", problem.message if problem else "no picture")
    columns: dict[str, Any] = dict(sample.passthrough)
    columns |= {name: codec.decode_mask(data) for name, data in sample.masks.items()}
    if sample.labels_raw is not None and (boxes := _boxes(sample.labels_raw)) is not None:
        columns["boxes"] = boxes
    if sample.target is not None:
        columns["target"] = codec.decode(sample.target).pixels
    return Inputs(sample.key, codec.decode(sample.image).pixels, sample.caption, columns)


def _boxes(text: str) -> list[tuple[str, tuple[float, float, float, float]]] | None:
    """Class and (x, y, width, height) of every box of a label record; ``None`` for a JSON that is none."""
    try:
        found = parse_sample(text, "auto")
    except BadSample:
        return None
    return [(each.category, each.bbox) for each in found.annotations if each.bbox is not None]


class DecodedCache:
    """Decoded samples by content, until ``limit`` bytes are full; what is in stays in.

    Nothing is evicted: epochs go through a set from end to end, and what was used least recently would always be what
    is needed next. Safe to use from several threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[bytes, Inputs] = {}
        self._lock = threading.Lock()
        self.size = 0
        """Bytes of pixels that are kept."""

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, sample: Sample) -> Inputs:
        """As :func:`decoded`. The arrays are shared: they must not be written to."""
        if not self._limit or sample.image is None:
            return decoded(sample)
        key = _digest(sample)
        with self._lock:
            known = self._kept.get(key)
        if known is not None:
            return known
        found = decoded(sample)
        arrays = [value for value in (found.image, *found.columns.values()) if isinstance(value, np.ndarray)]
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if key not in self._kept and self.size + size <= self._limit:
                for array in arrays:
                    array.flags.writeable = False
                self._kept[key] = found
                self.size += size
        return found


def _digest(sample: Sample) -> bytes:
    made = hashlib.blake2b(sample.key.encode("utf-8", "surrogatepass"), digest_size=16)
    for data in (sample.image, sample.target, *sample.masks.values()):
        made.update(data or b"")
    made.update(
        repr((sample.caption, sample.labels_raw, sorted(sample.passthrough.items()))).encode("utf-8", "replace")
    )
    return made.digest()
