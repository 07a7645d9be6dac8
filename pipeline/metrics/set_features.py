"""Which pictures represent a set, and the features that stand for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

RANK = "rank"
"""What is added to the name of features for the ranks of their pictures."""


class FeatureReader(Protocol):
    """The features that the workers left behind."""

    def sample(self, name: str, count: int) -> np.ndarray | None:
        """The (n, D) features of the at most ``count`` pictures of lowest rank, in order of rank; ``None`` for none."""
        ...


def rank(key: str, variant: int) -> int:
    """The place of a picture in a fixed random order of all keys: 0 to 2^63 - 1."""
    digest = hashlib.sha256(f"{key}\0{variant}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def chosen(ranks: Sequence[int], share: float) -> list[bool]:
    """Which of these pictures are among a share of all."""
    return [each < share * 2**63 for each in ranks]
