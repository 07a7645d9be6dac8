"""The few records that travel through the graph: sample, source file, shard, translated rows, receipt."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from methods.notices import Notice
from pipeline.findings import Finding

Kind = str
"""How a member or column passes through: ``binary``, ``text`` (a text member: a file of its own), or a column type as
:mod:`pipeline.sources.columns` writes it (``string``, ``int64``, ``list<double>``, ``timestamp[us, tz=UTC]``)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one sample was not translated: pipeline stage, a stable reason word, and a sentence for people."""

    stage: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One input sample, still compressed.

    Attributes:
        key: unique within the source; goes unchanged into the output.
        source_uri: the file the bytes came from (for a tar or a Parquet file: that file).
        image: compressed image bytes; ``None`` only together with ``problem``.
        target: compressed true picture in the other domain, where the source carries one.
        caption: text that belongs to the image.
        labels_raw: the sample's own label JSON (from a member or column), not yet parsed.
        masks: label maps and other images whose geometry follows the picture, by member name (``seg.png``).
        passthrough: anything else, by column or member name: scalars and bytes, passed through untouched.
        problem: set when reading already failed; such a sample only becomes an index row.
    """

    key: str
    source_uri: str
    image: bytes | None = None
    target: bytes | None = None
    caption: str | None = None
    labels_raw: str | None = None
    masks: Mapping[str, bytes] = field(default_factory=dict)
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    problem: Rejection | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A tar, a Parquet file, a manifest, or a fixed run of loose images.

    Attributes:
        uri: what ``read`` opens (for loose images: the folder they are listed under).
        relative: the name that identifies the file within the source; shard ids derive from it alone.
        size: bytes, 0 where the store does not say.
        samples: number of samples where that is known without reading, else ``None``.
        members: for loose images, their paths relative to ``uri``.
        version: what changes whenever the content does (see ``storage.version_of``); for loose images one short hash
            a member, with commas between, empty for a member that is not there. Empty where the store says nothing.
        generation: of the output that the shards belong to; each ``--fresh`` begins the next one.
    """

    uri: str
    relative: str
    size: int = 0
    samples: int | None = None
    members: tuple[str, ...] = ()
    version: str = ""
    generation: int = 1

    @property
    def stem(self) -> str:
        """The shard name without its part number: ``{file stem}-{8 hex of the relative URI}``."""
        base = posixpath.basename(self.relative).split(".")[0] or "source"
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in base)[:80]
        return f"{safe}-{_digest(self.relative)}"

    @property
    def shard_stem(self) -> str:
        """What the ids of the file's shards have in common: the stem, and the generation from the second on."""
        return self.stem if self.generation == 1 else f"{self.stem}-g{self.generation}"

    def shard_id(self, part: int) -> str:
        """The id of the part-th shard of this file."""
        return f"{self.shard_stem}-{part:04d}"


def _digest(name: str) -> str:
    # A file name need not be text: Python carries bytes that are no UTF-8 as lone surrogates.
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of consecutive samples of one source file: the unit of work, of commit and of resume.

    ``last`` is true for the file's final shard; it goes into the index part, so that a resumed run knows from the
    parts alone that a file is complete. ``findings`` say what of these samples' members and columns is left out.
    ``damaged`` is true when the file could not be read to its end: the next run tries that again.
    """

    id: str
    source: str
    part: int
    samples: tuple[Sample, ...]
    last: bool
    findings: tuple[Finding, ...] = ()
    damaged: bool = False
    read_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One attempted (sample, variant), as it will stand in the index and, if ``status`` is ok, in the data file.

    ``label_record`` is the number of its labels in the job's label table, ``label_problems`` are the reasons why single
    annotations were left out.
    """

    key: str
    variant: int
    status: str
    source_uri: str
    source_sha256: str | None
    seed: int
    rejection: Rejection | None = None
    image: bytes | None = None
    source_image: bytes | None = None
    width: int | None = None
    height: int | None = None
    caption: str | None = None
    labels: Mapping[str, Any] | None = None
    labels_raw: str | None = None
    label_record: int | None = None
    label_problems: tuple[str, ...] = ()
    masks: Mapping[str, bytes] = field(default_factory=dict)
    passthrough: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Translated:
    """A shard after translation: its rows in source order, and what it cost.

    ``device`` is the name of what the method worked on, ``operations`` are its floating point operations for a picture,
    where they are counted by now.
    """

    shard: str
    source: str
    part: int
    last: bool
    rows: tuple[Row, ...]
    started: float
    finished: float
    device_seconds: float
    worker: str
    bytes_in: int
    notices: Mapping[str, Notice] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    damaged: bool = False
    read_seconds: float = 0.0
    device: str = ""
    operations: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the driver learns of a committed shard: a few hundred bytes, nothing per sample.

    ``started``, ``translated`` and ``committed`` are Unix times; ``read_seconds`` and ``write_seconds`` are what
    reading and committing the shard took, without waiting for their turn. ``metrics`` holds mergeable summaries by
    column. ``notices`` are what the worker's method said of its samples since the receipt before. ``device`` and
    ``operations`` are those of :class:`Translated`.
    """

    shard: str
    source: str
    part: int
    last: bool
    ok: int
    filtered: int
    rejected: int
    bytes_in: int
    bytes_out: int
    started: float
    translated: float
    committed: float
    device_seconds: float
    worker: str
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    device: str = ""
    operations: int | None = None

    @property
    def attempted(self) -> int:
        """Rows this shard added to the index."""
        return self.ok + self.filtered + self.rejected
