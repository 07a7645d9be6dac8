"""The memory of a test's own process."""

from __future__ import annotations

from pathlib import Path


def peak_mib() -> int:
    """The most that this program had resident so far, in MiB.

    Of this program alone: what ``getrusage`` says of a child begins with the peak of the process that started it.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) // 1024
