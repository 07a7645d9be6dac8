"""What a CPU worker does with memory and threads, seen from outside: each in a process of its own."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading, torch
from pipeline.translate.cpu import configure_cpu
if sys.argv[1] == "kept":
    configure_cpu(1)
block = torch.nn.Sequential(torch.nn.Conv2d(32, 32, 3, 1, 1), torch.nn.SiLU(), torch.nn.Conv2d(32, 32, 3, 1, 1))
picture = torch.zeros(1, 32, 256, 256)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with torch.no_grad():
        block(picture) + picture
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def work():
    print(*[faults() for _ in range(8)])
for thread in (threading.Thread(target=work), threading.Thread(target=work)):
    thread.start()
    thread.join()
print(torch.get_num_threads())
"""


def page_faults(how: str) -> tuple[list[int], int]:
    """Of eight equal passes in each of two threads, and how many threads torch has."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    *passes, threads = done.stdout.split()
    return list(map(int, passes)), int(threads)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    kept, threads = page_faults("kept")
    plain, _ = page_faults("plain")
    assert threads == 1
    pages_of_a_map = 32 * 256 * 256 * 4 // 4096
    # The usual pass asks for no page. Now and then one does ask for a block: small allocations in between may have left
    # no gap of its size, and the pool grows by one.
    assert statistics.median(kept) < pages_of_a_map / 10
    # the control: without the setting the usual pass asks for blocks again, each time
    assert statistics.median(plain) > pages_of_a_map
    assert sum(kept) < sum(plain) / 2
