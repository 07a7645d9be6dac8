"""Large JSON documents, one entry of their top-level lists at a time, in memory that the largest entry decides."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_CHUNK = 1 << 20
_LARGEST = 16 << 20
"""Characters of one entry: no picture has as many labels, and as Python values it takes thirty times as much."""
_MOST_KEYS = 100_000
_TOO_LARGE = f"one value of more than {_LARGEST >> 20} MiB"
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = "+-.eE0123456789"
_LONGEST_TOKEN = 16
"""Characters of the longest token but strings (``-Infinity``, an escape): one may be cut at the buffer's end."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """One value of a document.

    Attributes:
        key: the top-level key it stands under; ``None`` when the document is a list or a plain value.
        text: the JSON text of the value, as it stands in the file.
        value: the same, parsed.
        listed: whether it is an element of a list (of the key's, or of the document's own).
    """

    key: str | None
    text: str
    value: Any
    listed: bool


class JsonStream:
    """The entries of one document, read forwards once.

    Attributes:
        kind: what the document is, ``object``, ``list`` or ``value``; known once the first entry is asked for.
        lists: the keys whose value is a list, empty ones too, met so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.kind = ""
        self.lists: set[str] = set()
        self._file = file
        self._decoder = json.JSONDecoder()
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer, self._at, self._done = "", 0, False
        self._lines, self._column, self._bytes = 1, 0, 0

    def __iter__(self) -> Iterator[JsonValue]:
        """Every entry in the order of the file.

        Raises:
            ValueError: not JSON, or not UTF-8; says where, in one line.
        """
        first = self._peek()
        if first == "[":
            self.kind = "list"
            yield from self._elements(None)
        elif first == "{":
            self.kind = "object"
            yield from self._members()
        else:
            self.kind = "value"
            text, value = self._value()
            yield JsonValue(None, text, value, listed=False)
        if self._peek():
            raise self._error("Extra data")

    def _members(self) -> Iterator[JsonValue]:
        keys = 0
        self._at += 1
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            key = str(self._value()[1])
            keys += 1
            if keys > _MOST_KEYS:
                raise self._error(f"more than {_MOST_KEYS:,} keys")
            if self._peek() != ":":
                raise self._error("Expecting ':' delimiter")
            self._at += 1
            if self._peek() == "[":
                self.lists.add(key)
                yield from self._elements(key)
            else:
                text, value = self._value()
                yield JsonValue(key, text, value, listed=False)
            if not self._comma("}"):
                return

    def _elements(self, key: str | None) -> Iterator[JsonValue]:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            text, value = self._value()
            yield JsonValue(key, text, value, listed=True)
            if not self._comma("]"):
                return

    def _comma(self, end: str) -> bool:
        """Step over what follows a value: true after a comma, false after ``end``."""
        found = self._peek()
        if found not in (",", end) or not found:
            raise self._error("Expecting ',' delimiter")
        self._at += 1
        return found == ","

    def _peek(self) -> str:
        """The next character that is no white space, without taking it; empty at the end."""
        while True:
            self._at = self._skipped(self._at)
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def _value(self) -> tuple[str, Any]:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # At the buffer's end a value may only be cut; anywhere else the file itself is wrong.
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._buffer) - _LONGEST_TOKEN
                into = error.pos - self._at
                if cut and len(self._buffer) - self._at > _LARGEST:
                    raise self._error(_TOO_LARGE) from None
                if cut and self._more():
                    continue
                raise self._error(error.msg, self._at + into) from None
            except RecursionError:
                raise self._error("nested too deeply") from None
            except ValueError:
                raise self._error("a number of thousands of digits") from None
            # A number at the end of the buffer may go on in the next chunk, as "1", "1." and "1e-" do.
            rest = self._buffer[end : end + 3]
            at_end = end + len(rest) == len(self._buffer)
            if at_end and self._buffer[end - 1] not in '}]"' and not rest.strip(_NUMBER) and self._more():
                continue
            if end - self._at > _LARGEST:
                raise self._error(_TOO_LARGE)
            text = self._buffer[self._at : end]
            self._at = end
            return text, value

    def _more(self) -> bool:
        """Read on, dropping what has been taken. As much again as is pending, so that long values cost linear time."""
        if self._done:
            return False
        taken = self._buffer[: self._at]
        lines = taken.count("\n")
        self._lines += lines
        self._column = len(taken) - taken.rfind("\n") - 1 if lines else self._column + len(taken)
        pending = self._buffer[self._at :]
        data = self._file.read(min(max(_CHUNK, len(pending)), _LARGEST))
        self._done = not data
        try:
            text = self._utf8.decode(data, final=self._done)
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {self._bytes + error.start} is not UTF-8 text") from None
        self._bytes += len(data)
        self._buffer, self._at = pending + text, 0
        return bool(text) or not self._done

    def _skipped(self, at: int) -> int:
        """The first place from here that holds no white space."""
        found = _SPACE.match(self._buffer, at)
        return at if found is None else found.end()

    def _error(self, message: str, position: int | None = None) -> ValueError:
        before = self._buffer[: self._at if position is None else position]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self._column + len(before) + 1
        return ValueError(f"line {self._lines + lines}, column {column}: {message}")
