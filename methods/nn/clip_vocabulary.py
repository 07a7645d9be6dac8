"""CLIP's byte-pair tokenizer with merges of its own, which our files of weights carry in their metadata."""

from __future__ import annotations

import gzip
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

MERGES = "merges"
"""The key of the metadata: one merge per line, two tokens with a blank between."""
_CONTEXT_LENGTH = 77


@cache
def tokenizer_of(merges: tuple[str, ...]) -> Any:
    """open_clip's tokenizer that knows these merges alone. Token ids count bytes first, then merges."""
    from open_clip.tokenizer import SimpleTokenizer

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "merges.txt.gz"
        # its reader skips the first line
        file.write_bytes(gzip.compress("\n".join(["#version: 0.2", *merges]).encode()))
        return SimpleTokenizer(str(file), context_length=_CONTEXT_LENGTH)


def merges_in(path: Path) -> tuple[str, ...] | None:
    """The merges that a file of weights carries, or ``None``."""
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get(MERGES)
    except (SafetensorError, OSError):
        return None
    return None if found is None else tuple(found.split("\n"))
