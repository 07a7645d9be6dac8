"""Loaded by every Python process that a test starts, as this folder is on their path: no test leaves this machine."""

import contextlib

with contextlib.suppress(ImportError):
    from tests.support.network import guard

    guard()
