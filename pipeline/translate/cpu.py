"""How a process that computes on the CPU is set up."""

from __future__ import annotations

import contextlib
import ctypes

import torch

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BLOCK = 1 << 30
_TRIM = 2**31 - 1


def configure_cpu(threads: int) -> None:
    """Give torch its threads, and let the process keep memory that was freed for the next batch.

    A feature map of a 512 px picture is 128 MiB. By default the C library gives such a block back to the system when it
    is freed, and the system clears every page of the next one: a third of the time of a residual block was measured.
    Here blocks below 1 GiB stay with the process, in one pool for all its threads, so it never holds much more than it
    once needed at a time. Where the C library is another than glibc, its own ways are left alone.

    Args:
        threads: two torch threads on two busy cores were measured 20 times slower than one.
    """
    torch.set_num_threads(threads)
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _BLOCK)
        set_option(_M_TRIM_THRESHOLD, _TRIM)
        set_option(_M_ARENA_MAX, 1)
