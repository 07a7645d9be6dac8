"""The error that is about the machinery."""

from __future__ import annotations


class JobFailed(Exception):
    """The job could not be finished for reasons that are not the user's input; a rerun goes on where it stopped."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters; its class name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
