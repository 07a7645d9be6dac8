"""What a method changes of its input that the user should know: counted by reason, said in full once.

Notices are log records, so that they need no path through a method's calls: a method logs them with :func:`notice`,
and whoever runs methods collects them with a :class:`NoticeCounter`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

LOGGER = logging.getLogger("sceneshift.methods.notices")


@dataclass
class Notice:
    """How often something happened, and what was said of it first."""

    count: int
    example: str


def notice(reason: str, message: str) -> None:
    """Say that a sample was used otherwise than given.

    Args:
        reason: a short stable word for counting (``caption_cut``).
        message: one line about this sample.
    """
    LOGGER.warning(message, extra={"reason": reason})


class NoticeCounter(logging.Handler):
    """Counts the notices of all threads of the process from start to stop; they are printed nowhere meanwhile.

    Args:
        mine: whether to count what is said here and now, called in the thread that says it.
    """

    def __init__(self, mine: Callable[[], bool] = lambda: True) -> None:
        super().__init__(logging.WARNING)
        self._mine = mine
        self._found: dict[str, Notice] = {}
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        if not self._mine():
            return
        reason = getattr(record, "reason", "other")
        with self._guard:
            known = self._found.setdefault(reason, Notice(0, record.getMessage()))
            known.count += 1

    def take(self) -> dict[str, Notice]:
        """What was counted since the last call, by reason."""
        with self._guard:
            found, self._found = self._found, {}
        return found

    def start(self) -> None:
        """Begin to count."""
        LOGGER.addHandler(self)
        LOGGER.propagate = False

    def stop(self) -> None:
        """Count no more; once nobody counts, notices are plain warnings again."""
        LOGGER.removeHandler(self)
        LOGGER.propagate = not LOGGER.handlers

    def __enter__(self) -> NoticeCounter:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
