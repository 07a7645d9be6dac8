"""Which split a sample falls into: by a seeded hash of its key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from methods.errors import InputError

_USUAL = ("train", "val", "test")
_END = 1 << 64


@dataclass(frozen=True)
class Split:
    """One part of a dataset: its name, and its share of the samples."""

    name: str
    share: float


def parse_splits(text: str | None) -> tuple[Split, ...]:
    """``0.9,0.1`` (train, val, test in this order) or ``train=0.8,dev=0.2``. Without a text: all of it is ``train``.

    Raises:
        InputError: not shares above 0 that add up to 1, or more than three without names.
    """
    if text is None:
        return (Split("train", 1.0),)
    parts = [part.strip() for part in text.split(",")]
    pairs = zip(parts, _names(parts), strict=True)
    named = [part.partition("=")[::2] if "=" in part else (name, part) for part, name in pairs]
    try:
        splits = tuple(Split(name.strip(), float(share)) for name, share in named)
    except ValueError:
        raise InputError(f"--splits {text}: write shares, such as 0.9,0.1 or train=0.8,val=0.1,test=0.1") from None
    if any(not 0 < each.share <= 1 for each in splits) or abs(sum(each.share for each in splits) - 1) > 1e-6:
        raise InputError(f"--splits {text}: shares are above 0 and add up to 1, such as 0.9,0.1")
    names = [each.name for each in splits]
    if len(set(names)) < len(names) or not all(name.replace("-", "").replace("_", "").isalnum() for name in names):
        raise InputError(f"--splits {text}: every split needs a plain name of its own")
    return splits


def _names(parts: Sequence[str]) -> Sequence[str]:
    if len(parts) > len(_USUAL) and any("=" not in part for part in parts):
        raise InputError(f"--splits {','.join(parts)}: name more than three splits, such as a=0.25,b=0.25,...")
    return [*_USUAL, *[""] * len(parts)][: len(parts)]


class Splitter:
    """Assigns keys to splits.

    The shares hold as exactly as whole samples allow. The order is that of hashes of (seed, key), so a key's variants
    stay together and nothing depends on the order of the dataset; samples that are added later move only those that
    the new shares make move.

    Args:
        hashes: :func:`key_hash` of every key to be assigned, in any order, repeated or not.
    """

    def __init__(self, splits: Sequence[Split], seed: int, hashes: np.ndarray) -> None:
        self._splits, self._seed = splits, seed
        order = np.unique(hashes)
        self._limits: list[int] = []
        total = 0.0
        for each in splits[:-1]:
            total += each.share
            at = min(len(order), round(total * len(order)))
            self._limits.append(int(order[at]) if at < len(order) else _END)

    def of(self, key: str) -> str:
        """The name of the key's split."""
        if not self._limits:
            return self._splits[0].name
        value = key_hash(key, self._seed)
        for each, limit in zip(self._splits, self._limits, strict=False):
            if value < limit:
                return each.name
        return self._splits[-1].name


def key_hash(key: str, seed: int) -> int:
    """64 bits of a key that a seed shuffles."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest(), "big")
