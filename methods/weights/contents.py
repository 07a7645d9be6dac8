"""What stands for the content of a file of tensors: its tensors and its configuration, in whatever order they lie.

Two files of safetensors that hold the same tensors under the same names are the same weights, though another program
has written them in another order or with other padding. The header is read here without torch, in plain JSON.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_LONGEST_HEADER = 100_000_000
"""Bytes of a header at most, as the safetensors library has it."""
_BLOCK = 1 << 20
_FRAMEWORKS = frozenset({"pt", "tf", "flax", "np", "numpy", "mlx", "paddle"})
"""What libraries put under ``format``: which of them wrote the file."""
_TRAINING = frozenset({"objective", "steps", "spec", "fingerprint"})
"""What the training loop notes in the weights it exports."""
_NOTES = _TRAINING | {"about", "origin"}
"""What files of ours say of where they come from; no loader reads it."""
_FOREIGN_NOTES = ("ss_", "sshs_", "modelspec.date", "modelspec.hash_")
"""How notes of other training programs (kohya-ss) begin: sessions, dates, hashes of the file."""


class _Part(NamedTuple):
    """One tensor: name, type, shape, and where its bytes begin and end behind the header."""

    name: str
    dtype: str
    shape: list[int]
    begin: int
    end: int


def contents_sum(path: Path) -> str | None:
    """The SHA-256, in hex, of what a safetensors file holds; ``None`` for any other file, or a damaged one.

    It covers each tensor's name, type, shape and bytes, and of the metadata what is :func:`configuration`. The file is
    read once, from its beginning to its end, in blocks.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _header(file, size)
        if header is None:
            return None
        parts, metadata = header
        tensors: dict[str, Any] = {}
        for part in parts:
            found = _sum_of_next(file, part.end - part.begin)
            if found is None:
                return None
            tensors[part.name] = [part.dtype, part.shape, found]
    tree = {"configuration": configuration(metadata), "tensors": tensors}
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def configuration(metadata: Mapping[str, str]) -> dict[str, str]:
    """What of a file's metadata may decide what the weights do: all that is not known to be a mere note.

    Left out are ``format`` where it names the library that wrote the file, what kohya-ss notes of a training
    (``ss_...``, ``sshs_...``, dates and hashes), and in files of ours where they come from: ``spec``, ``objective``,
    ``steps`` and ``fingerprint`` of the training, ``about`` and ``origin``.
    """
    ours = metadata.get("format", "").startswith("sceneshift") or metadata.keys() >= _TRAINING
    return {
        name: value
        for name, value in metadata.items()
        if not (
            (name == "format" and value in _FRAMEWORKS) or name.startswith(_FOREIGN_NOTES) or (ours and name in _NOTES)
        )
    }


def _header(file: BinaryIO, size: int) -> tuple[list[_Part], dict[str, str]] | None:
    """The tensors as they lie in the file, and its metadata; ``None`` unless they cover the file without a gap."""
    begin = file.read(9)
    if len(begin) < 9 or begin[8:] != b"{":
        return None
    length: int = struct.unpack("<Q", begin[:8])[0]
    if length > min(_LONGEST_HEADER, size - 8):
        return None
    try:
        tree = json.loads(b"{" + file.read(length - 1))
        metadata = tree.pop("__metadata__", None) or {}
        parts = [
            _Part(name, str(each["dtype"]), [int(side) for side in each["shape"]], *map(int, each["data_offsets"]))
            for name, each in tree.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        return None
    parts.sort(key=lambda part: (part.begin, part.end))
    end = 0
    for part in parts:
        if part.begin != end or part.end < part.begin:
            return None
        end = part.end
    return (parts, metadata) if end == size - 8 - length else None


def _sum_of_next(file: BinaryIO, length: int) -> str | None:
    """The SHA-256 of the next ``length`` bytes; ``None`` where the file ends before."""
    total, block = hashlib.sha256(), memoryview(bytearray(min(_BLOCK, max(length, 1))))
    while length:
        read = file.readinto(block[: min(length, len(block))])  # pyright: ignore[reportAttributeAccessIssue]
        if not read:
            return None
        total.update(block[:read])
        length -= read
    return total.hexdigest()
