"""What all kinds of hostile input are made and read with."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

from methods.errors import BadSample
from pipeline import codec
from pipeline.sources import open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec

MOST_MIB = 1536
SHARD = 8
NAMES = (
    *("../../etc/passwd", "/etc/shadow", "a/../../b", "C:\\windows\\x", "~/.ssh/id", "con", "", ".", "..", "a" * 5000),
    *("<script>alert(1)</script>", "a\x00b", "a\nb", "=cmd|'/c calc'!A1", "{{7*7}}", "%s%n", "\u202egpj.a", "é" * 300),
    *("$(reboot)", "`id`", "a;b", "'\"", "file:///etc/passwd", "s3://x/y", "\x1b[2J"),
)


def one_line(error: Exception) -> int:
    """1, for one case that was refused, in one line."""
    if "\n" in str(error):
        raise AssertionError(f"not one line: {error}")
    return 1


def broken(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """A copy with bytes flipped, cut out, repeated, moved or put in."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(made) + 1)
        size = min(len(made) - at, rng.choice((1, 1, 2, 8, 64, 512, len(made))))
        how = rng.random()
        if how < 0.4 and size:
            made[at] = rng.randrange(256)
        elif how < 0.55:
            del made[at : at + size]
        elif how < 0.7:
            made[at:at] = made[at : at + size]
        elif how < 0.85:
            made[at : at + size] = rng.choice((b"\xff", b"\x00", b"\x7f")) * size
        else:
            made[at:at] = rng.randbytes(min(size, 64))
    return bytes(made)


def read_source(path: Path, format: str, files: Collection[Path] = ()) -> int:
    """Read a source as a job does: look, resolve the layout, go through every shard; how many rows were rejected."""
    spec = SourceSpec(uri=str(path))
    layout = resolve_layout(spec, format, SHARD)
    source = open_source(spec, format, SHARD)
    rejected = 0
    for file in source.plan():
        for shard in source.read(file, layout, SHARD):
            for sample in shard.samples:
                if sample.problem is not None:
                    rejected += 1
                    assert "\n" not in sample.problem.message, sample.problem.message
                    continue
                assert sample.image is not None
                try:
                    codec.decode(sample.image, max_pixels=1 << 22)
                except BadSample:
                    rejected += 1
            del shard
    return rejected
