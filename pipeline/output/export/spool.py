"""A long JSON list that is written item by item to a temporary file, for documents larger than memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from typing import Any, BinaryIO, cast


class JsonList:
    """Items of one JSON list, on disk."""

    def __init__(self) -> None:
        self._file = _temporary()
        self.count = 0

    def add(self, item: Any) -> None:
        """Append one item."""
        self._file.write(b",\n" if self.count else b"\n")
        self._file.write(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
        self.count += 1

    def write_to(self, out: BinaryIO) -> None:
        """The whole list, as JSON. Items may be added, and the list written, again."""
        out.write(b"[")
        self._file.seek(0)
        shutil.copyfileobj(self._file, out, 1 << 20)
        out.write(b"]")


def document(parts: dict[str, JsonList | Any]) -> BinaryIO:
    """A JSON object whose values are lists of this kind or plain values, as a file opened at its beginning."""
    out = _temporary()
    out.write(b"{")
    for at, (name, value) in enumerate(parts.items()):
        out.write(b"," * bool(at) + json.dumps(name).encode() + b":")
        if isinstance(value, JsonList):
            value.write_to(out)
        else:
            out.write(json.dumps(value, ensure_ascii=False).encode())
    out.write(b"}\n")
    out.seek(0)
    return out


def bare_list(items: JsonList) -> BinaryIO:
    """A document that is nothing but a list, as a file opened at its beginning."""
    out = _temporary()
    items.write_to(out)
    out.write(b"\n")
    out.seek(0)
    return out


def _temporary() -> BinaryIO:
    # Handed on to whoever reads it; gone when nobody holds it any more.
    return cast("BinaryIO", tempfile.TemporaryFile())
