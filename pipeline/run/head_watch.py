"""Saying that the head of a joined cluster is gone: Ray itself ends the process without a word, with exit code 1."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time

from pipeline.uris import redact

_LOOK_EVERY = 2.0
_GIVEN_UP_AFTER = 40.0
"""Seconds: a head that is started again has this long; Ray's native code gives up after 60."""
_EXIT_CODE = 3


class HeadWatch:
    """A thread that connects to the head's port every two seconds, from now until :meth:`stop`.

    When nothing has listened there for 40 s it ends the process, as Ray would do 20 s later from a thread of its own:
    with one line and the exit code of a failed machinery. Nothing can be raised: whoever waits for Ray waits in native
    code. What is committed stays, and the lock of a process that is gone is free.
    """

    def __init__(self, place: str) -> None:
        """``place`` is ``host:port`` of the head."""
        self._place = place
        self._stop = threading.Event()
        threading.Thread(target=self._look, name="head-watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _look(self) -> None:
        host, _, port = self._place.rpartition(":")
        answered = time.monotonic()
        while not self._stop.wait(_LOOK_EVERY):
            with contextlib.suppress(OSError):
                socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_EVERY).close()
                answered = time.monotonic()
            if time.monotonic() - answered > _GIVEN_UP_AFTER and not self._stop.is_set():
                print(
                    f"sceneshift: the head of the Ray cluster, {redact(self._place)}, has not answered for "
                    f"{_GIVEN_UP_AFTER:.0f} s. What is committed stays; run the job again, with the address of a "
                    "cluster that is up, to go on",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(_EXIT_CODE)
