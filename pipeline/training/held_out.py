"""Which samples of a training set are held out for validation: decided by their keys, not by files or order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_SPAN = 1 << 64
_SCANNED = 4096
"""Up to this size the keys are looked at and exactly the wanted number is held out; above it, that share of them."""


@dataclass(frozen=True)
class HeldOut:
    """A rule over keys: those whose hash is below ``threshold`` (of 2^64) are held out."""

    threshold: int = 0

    def __bool__(self) -> bool:
        return self.threshold > 0

    def __contains__(self, key: str) -> bool:
        return _hash(key) < self.threshold


def hold_out(count: int, size: int, keys: Callable[[], Iterable[str]]) -> HeldOut:
    """The rule that holds out ``count`` of ``size`` samples; every reader of the set finds the same one.

    A set of more than 4,096 samples is not read for it: there about ``count`` are held out.

    Args:
        count: how many; below ``size``.
        size: samples in the set.
        keys: their keys, asked for only where the set is small.
    """
    if size > _SCANNED:
        return HeldOut(count * _SPAN // size)
    ordered = sorted({_hash(key) for key in keys()})
    return HeldOut(ordered[count] if count < len(ordered) else _SPAN)


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
