"""Peak memory of a command with everything it started, wherever those processes have moved to. Linux only."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARK = "SCENESHIFT_BENCHMARK_RUN"
_GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Finished:
    """A command that ended: when it was typed (Unix time), how long it took, what it said, its memory.

    ``peak_bytes`` is the largest sum of PSS (memory shared by n processes counts 1/n in each) seen over all its
    processes; 0 when it was not asked for.
    """

    began: float
    seconds: float
    output: str
    peak_bytes: int


def run(
    command: Sequence[str], environment: Mapping[str, str], *, memory: bool = False, every: float = 0.5
) -> Finished:
    """Run a command to its end, then see that nothing it started is left. Raises RuntimeError if it fails.

    Processes are recognised by a mark in their environment, which children inherit: some daemons leave their parent.
    """
    mark = secrets.token_hex(8)
    peak = 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(every):
            peak = max(peak, sum(pss(pid) for pid in marked(mark)))

    began = time.time()
    process = subprocess.Popen(
        command, env={**environment, _MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watcher = threading.Thread(target=watch, daemon=True)
    if memory:
        watcher.start()
    try:
        output, problems = process.communicate()
    finally:
        ended.set()
        seconds = time.time() - began
        reap(mark)
    if memory:
        watcher.join()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{problems.strip()[-2000:]}")
    return Finished(began, seconds, output, peak)


def marked(mark: str) -> list[int]:
    """Living processes that carry the mark."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def pss(pid: int) -> int:
    """Proportional set size in bytes; 0 for a process that has just gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def reap(mark: str) -> None:
    """Wait for what is left of a run, and end it if it does not go by itself."""
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
