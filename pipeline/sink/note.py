"""What an index part says of its shard as a whole, in its footer."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from pipeline.findings import Finding

META = b"sceneshift"
"""The key of the note among a Parquet file's metadata."""


@dataclass(frozen=True)
class PartNote:
    """What an index part's footer says of its shard; enough to resume and to count without reading rows.

    ``findings`` say what of the shard's samples was left out.
    """

    shard: str
    source: str
    part: int
    last: bool
    ok: int
    filtered: int
    rejected: int
    fingerprint: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    damaged: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def attempted(self) -> int:
        """Rows of the part."""
        return self.ok + self.filtered + self.rejected


def read_note(data: bytes) -> PartNote:
    """The note in an index part's footer."""
    return note_in(pq.read_schema(io.BytesIO(data)).metadata)


def note_in(metadata: Mapping[bytes, bytes] | None) -> PartNote:
    """The note among the metadata of an index part's schema. Raises KeyError or ValueError where there is none."""
    tree = json.loads((metadata or {})[META])
    return PartNote(**tree | {"findings": tuple(map(Finding.from_dict, tree.get("findings", ())))})
