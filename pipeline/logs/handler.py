"""The log of one process in memory, of bounded size: whole tracebacks of the first faults, and the latest lines."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping

from methods.counting import counted
from pipeline.logs.lines import LogFormat, line_of, write_line

LARGEST = 1 << 20
"""Characters of a log file at most; half of it for tracebacks, which are kept, half for lines, the oldest go first."""


class FirstOfEachFault(logging.Filter):
    """Lets the first record of each fault and of each notice pass, and the others only where all is wanted."""

    def __init__(self, everything: bool = False) -> None:
        super().__init__()
        self.everything = everything
        self._seen: set[Hashable] = set()
        self._changing = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show this record."""
        kind: Hashable = getattr(record, "fault", None)
        if kind is None:
            reason = getattr(record, "reason", None)
            kind = None if reason is None else (record.name, reason)
        if kind is None:
            return True
        with self._changing:
            new = kind not in self._seen
            self._seen.add(kind)
        return new or self.everything


class BoundedLog(logging.Handler):
    """Keeps formatted lines; :meth:`text` is the file as it now stands.

    Args:
        level: records below it are left out.
        format: of the lines.
        fields: that each line has.
        largest: characters at most.
        mine: whether to keep a record, asked in the thread that it comes from; those that are not count for nothing.
    """

    def __init__(
        self,
        level: int,
        format: LogFormat,
        fields: Mapping[str, str] | None = None,
        largest: int = LARGEST,
        mine: Callable[[logging.LogRecord], bool] = lambda record: True,
    ) -> None:
        super().__init__(level)
        self.format_name: LogFormat = format
        self.fields, self.largest = dict(fields or {}), largest
        self.addFilter(mine)
        self.addFilter(FirstOfEachFault(everything=level <= logging.DEBUG))
        self._kept: list[tuple[int, str]] = []
        self._latest: deque[tuple[int, str]] = deque()
        self._kept_size = self._latest_size = self._number = self._dropped = 0

    @property
    def number(self) -> int:
        """How many records came; grows with each."""
        return self._number

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        try:
            line = line_of(record, self.fields)
            text = write_line(line, self.format_name)
        except Exception:
            self.handleError(record)
            return
        self._number += 1
        if line.traceback and self._kept_size + len(text) <= self.largest // 2:
            self._kept.append((self._number, text))
            self._kept_size += len(text)
            return
        self._latest.append((self._number, text))
        self._latest_size += len(text)
        while self._latest_size > self.largest // 2:
            self._latest_size -= len(self._latest.popleft()[1])
            self._dropped += 1

    def text(self) -> str:
        """All that is kept, in order; the first line says how many lines are not, as a line of the file's format."""
        self.acquire()
        try:
            lines = sorted([*self._kept, *self._latest])
            dropped = self._dropped
        finally:
            self.release()
        return (self._note(dropped) if dropped else "") + "".join(text for _, text in lines)

    def _note(self, dropped: int) -> str:
        """How many lines are not kept, made like any other line: whatever reads the file can read this one too."""
        said = {"name": __name__, "levelno": logging.INFO, "levelname": "INFO"}
        said["msg"] = counted(dropped, "earlier line", "is/are") + " left out"
        return write_line(line_of(logging.makeLogRecord(said), self.fields), self.format_name)
