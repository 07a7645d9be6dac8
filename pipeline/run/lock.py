"""One driver at a time on one output: a small object put with If-None-Match, kept fresh, removed at the end.

The lock alone cannot stop a driver that slept while another took over: that is what the lease in it is for, which every
write of a run is checked against (``pipeline.fence``). Keeping the lock fresh never writes over another holder's. A
driver shuts its own workers out in the same way before it summarises: it gives the lock another token.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from methods.errors import InputError
from pipeline.fence import read_record
from pipeline.paths import LOCK_FILE
from pipeline.storage import Store

BEAT_SECONDS = 20.0
STALE_SECONDS = 120.0
LOOK_SECONDS = 2.0
# A local lock is kept fresh by writing over it in place, so its length must not change.
_LENGTH = 512


class Busy(InputError):
    """Another driver is at work on the output.

    Attributes:
        store, path: where its lock is.
        found: what the lock held, or ``None`` where that is not known.
    """

    def __init__(self, text: str, store: Store, found: dict[str, Any] | None = None, path: str = LOCK_FILE) -> None:
        super().__init__(text)
        self.store, self.found, self.path = store, found, path


@dataclass
class Held:
    """A lock that is held.

    Attributes:
        token: what leases are checked against.
        path: the lock's file.
        lost: set when the lock was seen in other hands.
        renew: gives the lock another token, unless it is lost: leases with the old one are worth nothing from then on.
    """

    token: str
    path: str = LOCK_FILE
    lost: threading.Event = field(default_factory=threading.Event)
    renew: Callable[[], None] = lambda: None


def holder(store: Store, path: str = LOCK_FILE) -> dict[str, Any] | None:
    """Who holds the lock (host, pid, run, beat; ``part`` of a driver that works on a part), or ``None``."""
    found = read_record(store, path)
    if found is None:
        return None
    return found if _seconds(found.get("beat")) is not None else {"host": "?", "pid": 0, "run": "?", "beat": 0.0}


def is_stale(found: dict[str, Any]) -> bool:
    """Whether the holder is gone: of this machine, no such process any more; of another, no sign of life for 120 s.

    A process of this machine that sleeps (a closed lid, Ctrl-Z, a paused virtual machine) is alive.
    """
    if _is_of_here(found):
        return not _alive(found.get("pid"), found.get("started"))
    return time.time() - (_seconds(found.get("beat")) or 0.0) > STALE_SECONDS


def shows_life(busy: Busy) -> bool:
    """Look at a lock until it is known whether its holder works: it is kept fresh, or has not been for 120 s.

    Of a process of this machine that is known at once; of another machine's after a beat, which comes every 20 s.
    """
    while busy.found is not None:
        found = holder(busy.store, busy.path)
        if found is None or is_stale(found):
            return False
        if _is_of_here(found) or any(found.get(name) != busy.found.get(name) for name in ("token", "beat")):
            break
        time.sleep(LOOK_SECONDS)
    return True


def _is_of_here(found: dict[str, Any]) -> bool:
    """Whether the pid in a lock means anything to this process."""
    return found.get("host") == socket.gethostname() and found.get("boot") == _boot_id()


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value else None


def _alive(pid: Any, started: Any) -> bool:
    if not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's process: alive
    state, begun = _stat_of(pid)
    # A process that ended and was not waited for yet has an entry still; or another one has got the number since.
    return state not in ("Z", "X") and (started is None or begun in (None, started))


def _stat_of(pid: int) -> tuple[str | None, str | None]:
    """The state of a process (``Z`` when it has ended), and when it was started, in ticks since boot.

    ``None`` where the system does not say.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None


def _boot_id() -> str:
    # Two containers may share a host name; the boot id with the pid namespace tells whether a pid means anything here.
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


@contextlib.contextmanager
def locked(
    store: Store, run: str, *, steal: bool = False, path: str = LOCK_FILE, part: str | None = None
) -> Iterator[Held]:
    """Hold the output's lock, or the one at ``path``.

    A stale lock is taken over; ``steal`` takes over a live one too. ``part`` is noted in the lock.

    Raises:
        Busy: another driver is at work on this output.
    """
    held = Held(secrets.token_hex(8), path)
    generation = 1

    def content() -> bytes:
        tree = {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "run": run, "token": held.token}
        tree |= {"started": _stat_of(os.getpid())[1], "generation": generation, "beat": time.time()}
        tree |= {} if part is None else {"part": part}
        return json.dumps(tree).encode().ljust(_LENGTH)

    if not store.put_new(path, content()):
        found = holder(store, path)
        # An answer that got lost is asked for again, and then the lock that is found is one's own.
        if found is None or found.get("token") != held.token:
            if found is not None and not steal and not is_stale(found):
                raise Busy(busy_line(store, found), store, found, path)
            generation = int(_seconds((found or {}).get("generation")) or 0) + 1
            store.put(path, content())
            # Two drivers may take over the same stale lock at once: the last put wins, and both look who it was.
            time.sleep(0.5)
            now = holder(store, path)
            if now is None or now.get("token") != held.token:
                raise Busy(f"{store.uri()}: another driver took the lock at the same moment; try again", store)
    stop, writing, own = threading.Event(), threading.Lock(), {held.token}
    beat = _LocalBeat(store, path) if store.local else _RemoteBeat(store, path)

    def renew() -> None:
        with writing:
            before, held.token = held.token, secrets.token_hex(8)
            own.add(held.token)
            # Once more where the store says that the lock is another object by now: it may have done an earlier beat
            # twice.
            if not any(beat(content(), before) and _holds(store, held) for _ in range(2)):
                held.lost.set()

    held.renew = renew

    def keep_fresh() -> None:
        while not stop.wait(BEAT_SECONDS):
            # A store that does not answer for a while is no loss: the lease is checked before every write.
            with contextlib.suppress(InputError, OSError), writing:
                if not beat(content(), held.token):
                    held.lost.set()
                    return

    thread = threading.Thread(target=keep_fresh, name="lock-beat", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        stop.set()
        thread.join(timeout=5)
        beat.close()
        with contextlib.suppress(InputError):
            found = holder(store, path)
            if found is not None and found.get("token") in own:
                store.delete(path)


def _holds(store: Store, held: Held) -> bool:
    found = read_record(store, held.path)
    return found is not None and found.get("token") == held.token


def busy_line(store: Store, found: dict[str, Any]) -> str:
    """Who is at work on the output, by the content of a lock."""
    age = max(0, time.time() - (_seconds(found.get("beat")) or 0.0))
    part = f"part {found['part']} of " if found.get("part") else ""
    return (
        f"{store.uri()}: {part}run {found.get('run')} on {found.get('host')} (pid {found.get('pid')}) is writing "
        f"here, last seen {age:.0f} s ago; wait for it, or pass --steal-lock if you know that it is gone"
    )


class _LocalBeat:
    """Writes into the very file that was put: who takes over puts another one, which this cannot reach."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path
        try:
            self._file: int | None = os.open(store.path(path), os.O_RDWR)
        except OSError:
            self._file = None

    def __call__(self, content: bytes, token: str) -> bool:
        """Whether the lock is still that of this token; it has the content then."""
        found = read_record(self._store, self._path)
        if found is None or found.get("token") != token or self._file is None:
            return False
        os.pwrite(self._file, content, 0)
        os.fsync(self._file)
        return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _RemoteBeat:
    """Puts the lock anew on the condition that it is still the object that was read."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path

    def __call__(self, content: bytes, token: str) -> bool:
        """Whether the lock was still that of this token; it is asked to take the content then."""
        tag = self._store.tag(self._path)
        found = read_record(self._store, self._path)
        if found is None or found.get("token") != token:
            return False
        # Refused when somebody put another lock in between: the next look sees whose.
        self._store.put_if(self._path, content, tag)
        return True

    def close(self) -> None:
        """Nothing is open."""
