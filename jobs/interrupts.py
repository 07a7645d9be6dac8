"""Ctrl-C and SIGTERM: one line that says what is committed and how to go on, and the usual exit codes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

GO_ON = "what is committed stays, and the same command goes on from there"


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception that unwinds like Ctrl-C does: locks are given back, logs are written."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM raises Terminated; in threads other than the first, nothing changes."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, raise_it)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        # Ray puts a handler of its own in when it is imported, which may stay.
        if signal.getsignal(signal.SIGTERM) is raise_it:
            signal.signal(signal.SIGTERM, before)


def interruption(error: BaseException) -> tuple[str, int] | None:
    """(what stopped the command, exit code) of an exception that a signal caused; ``None`` for any other."""
    # Ray's own handler of SIGTERM ends the process by SystemExit with the signal's number.
    if isinstance(error, Terminated) or (isinstance(error, SystemExit) and error.code == signal.SIGTERM):
        return "SIGTERM", 128 + signal.SIGTERM
    return ("Ctrl-C", 128 + signal.SIGINT) if isinstance(error, KeyboardInterrupt) else None
