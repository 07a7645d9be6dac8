"""Samples decoded for training, and a bounded memory of them, in memory and on a disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from methods.base import Inputs
from methods.errors import BadSample
from pipeline import codec
from pipeline.labels import parse_sample
from pipeline.records import Sample
from pipeline.training.array_file import ArrayFile, Place


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


@dataclass(frozen=True)
class _OnDisk:
    """A sample without its arrays, and where those lie: the picture under ``None``, columns under their names."""

    rest: Inputs
    places: Mapping[str | None, Place]


class DecodedCache:
    """Decoded samples by content, in memory until ``limit`` bytes are full, then on a disk; what is in stays in.

    Nothing is evicted: epochs go through a set from end to end, and what was used least recently would always be what
    is needed next. Safe to use from several threads.

    Args:
        limit: bytes of pixels in memory.
        disk: where the others are kept, up to its own limit; ``None`` for nowhere.
    """

    def __init__(self, limit: int, disk: ArrayFile | None = None) -> None:
        self._limit, self._disk = limit, disk
        self._kept: dict[bytes, Inputs | _OnDisk] = {}
        self._lock = threading.Lock()
        self.size = 0
        """Bytes of pixels that are kept in memory."""

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, sample: Sample) -> Inputs:
        """As :func:`decoded`. The arrays are shared: they must not be written to."""
        if (not self._limit and self._disk is None) or sample.image is None:
            return decoded(sample)
        key = _digest(sample)
        with self._lock:
            known = self._kept.get(key)
        if isinstance(known, _OnDisk):
            return self._read(known)
        if known is not None:
            return known
        found = decoded(sample)
        arrays: dict[str | None, np.ndarray] = {None: found.image} if found.image is not None else {}
        arrays |= {name: value for name, value in found.columns.items() if isinstance(value, np.ndarray)}
        size = sum(array.nbytes for array in arrays.values())
        with self._lock:
            if key in self._kept:
                return found
            if self.size + size <= self._limit:
                for array in arrays.values():
                    array.flags.writeable = False
                self._kept[key] = found
                self.size += size
                return found
        places = None if self._disk is None else self._disk.add(list(arrays.values()))
        if places is not None:
            others = {name: value for name, value in found.columns.items() if name not in arrays}
            rest = replace(found, image=None, columns=others)
            with self._lock:
                self._kept[key] = _OnDisk(rest, dict(zip(arrays, places, strict=True)))
        return found

    def _read(self, known: _OnDisk) -> Inputs:
        assert self._disk is not None
        arrays = {name: self._disk.read(place) for name, place in known.places.items()}
        columns = {**known.rest.columns, **{name: array for name, array in arrays.items() if name is not None}}
        return replace(known.rest, image=arrays.get(None), columns=columns)


def _digest(sample: Sample) -> bytes:
    made = hashlib.blake2b(sample.key.encode("utf-8", "surrogatepass"), digest_size=16)
    for data in (sample.image, sample.target, *sample.masks.values()):
        made.update(data or b"")
    made.update(
        repr((sample.caption, sample.labels_raw, sorted(sample.passthrough.items()))).encode("utf-8", "replace")
    )
    return made.digest()
