"""Which samples of a training set are held out for validation: decided by their keys, not by files or order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from methods.counting import counted
from methods.errors import InputError

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


def hold_out(count: int, size: int, keys: Callable[[], Iterable[str]], per_key: int = 1) -> HeldOut:
    """The rule that holds out ``count`` of a set's keys; every reader of the set finds the same one.

    A set of more than 4,096 keys is not read for it: there about ``count`` are held out.

    Args:
        count: how many.
        size: samples in the set.
        keys: their keys, asked for only where the set is small. Several samples may have one: variants of a picture.
        per_key: how many samples of one key there are at most; some may be missing.

    Raises:
        InputError: nothing would be left.
    """
    # the least: a set of which much is missing has more keys than that, and holds a few more of them out
    known = -(-size // per_key)
    if known > _SCANNED and count < known:
        return HeldOut(count * _SPAN // known)
    ordered = sorted({_hash(key) for key in keys()})
    if count >= len(ordered):
        raise InputError(
            f"{counted(len(ordered), 'sample')}, of which validation.count holds out {count}: none are left to train on"
        )
    return HeldOut(ordered[count])


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
