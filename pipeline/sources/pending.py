"""A sample whose bytes have not been fetched yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.findings import Finding
from pipeline.records import Rejection, Sample

Fetched = tuple[Sample, tuple[Finding, ...]]
"""A sample, and what of its members or columns is left out."""


@dataclass(frozen=True)
class Pending:
    """A sample whose bytes have not been fetched: its key, and how to get it when its shard is wanted.

    ``findings`` say what was passed over on the way to it; ``damaged`` marks one that stands for the rest of a file
    which cannot be read; ``remote`` one whose fetch asks a store, and may be called ahead of its turn in any thread.
    """

    key: str
    fetch: Callable[[], Fetched] | None
    problem: Rejection | None = None
    damaged: bool = False
    findings: tuple[Finding, ...] = ()
    remote: bool = False
