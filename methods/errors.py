"""The errors that are about the user's material or their store rather than about our code, and an error as one line."""

from __future__ import annotations


class InputError(Exception):
    """The user asked for something that cannot be done.

    The message is one line for a person: what is wrong, where, and what to do about it. The command line prints it
    without a traceback and leaves with exit code 2. It must never hold a secret.
    """


class BadSample(Exception):
    """One sample cannot be translated; the rest of the dataset can.

    The sample becomes an index row with status ``rejected``; ``str(error)`` is the row's message and ``reason`` a short
    stable word for counting (``too_large``, ``not_an_image``, ...).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadSample], tuple[str, str]]:
        return (type(self), (self.reason, str(self)))


class Unanswered(ConnectionError):
    """A server did not answer, however often it was asked: asking once more is of no use."""


def first_line(error: BaseException | str, limit: int = 200) -> str:
    """The first line of what an error says, at most ``limit`` characters; its type where it says nothing.

    A line that ends with a colon announces the next one, which follows: torch names tensors that do not fit there.
    """
    lines = (str(error).strip() or type(error).__name__).splitlines()
    said = f"{lines[0].rstrip()} {lines[1].strip()}" if lines[0].rstrip().endswith(":") and len(lines) > 1 else lines[0]
    return said[:limit]
