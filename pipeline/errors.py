"""The error that is about the machinery."""

from __future__ import annotations


class JobFailed(Exception):
    """The job could not be finished for reasons that are not the user's input; a rerun goes on where it stopped."""
