"""One driver at a time on one output: a small object put with If-None-Match, kept fresh, removed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from methods.errors import InputError
from pipeline.storage import Store

LOCK_FILE = "_sceneshift/lock.json"
BEAT_SECONDS = 20.0
STALE_SECONDS = 120.0


def holder(store: Store) -> dict[str, Any] | None:
    """Who holds the lock (host, pid, run, beat), or ``None``."""
    data = store.read_or_none(LOCK_FILE)
    if not data:
        return None
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"host": "?", "pid": 0, "run": "?", "beat": 0.0}


def is_stale(found: dict[str, Any]) -> bool:
    """Whether the holder is gone: no sign of life for two minutes, or a dead process of this machine."""
    if time.time() - float(found.get("beat", 0)) > STALE_SECONDS:
        return True
    if found.get("host") != socket.gethostname() or found.get("boot") != _boot_id():
        return False
    try:
        os.kill(int(found.get("pid", 0)) or -1, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _boot_id() -> str:
    # Two containers may share a host name; the boot id with the pid namespace tells whether a pid means anything here.
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


@contextlib.contextmanager
def locked(store: Store, run: str, *, steal: bool = False) -> Iterator[None]:
    """Hold the output's lock.

    A stale lock is taken over; ``steal`` takes over a live one too.

    Raises:
        InputError: another driver is at work on this output.
    """
    token = secrets.token_hex(8)

    def content() -> bytes:
        tree = {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "run": run, "token": token}
        return json.dumps(tree | {"beat": time.time()}).encode()

    if not store.put_new(LOCK_FILE, content()):
        found = holder(store)
        if found is not None and not steal and not is_stale(found):
            age = max(0, time.time() - float(found.get("beat", 0)))
            raise InputError(
                f"{store.uri()}: run {found.get('run')} on {found.get('host')} (pid {found.get('pid')}) is writing "
                f"here, last seen {age:.0f} s ago; wait for it, or pass --steal-lock if you know that it is gone"
            )
        store.put(LOCK_FILE, content())
        # Two drivers may take over the same stale lock at once: the last put wins, and both look who it was.
        time.sleep(0.5)
        now = holder(store)
        if now is None or now.get("token") != token:
            raise InputError(f"{store.uri()}: another driver took the lock at the same moment; try again")
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):
                store.put(LOCK_FILE, content())

    thread = threading.Thread(target=beat, name="lock-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
        found = holder(store)
        if found is not None and found.get("token") == token:
            store.delete(LOCK_FILE)
