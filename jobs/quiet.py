"""Keeping what native code prints away from the user's terminal."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile


def quiet_native_stderr() -> None:
    """Send file descriptor 2 to a log file while Python goes on writing to the terminal.

    Ray's C++ layer prints warnings there that no option turns off and that are about nothing a user can change. The
    file is removed at a normal exit; after a crash of the driver it is in the temporary folder as
    ``sceneshift-native-<pid>.log``.
    """
    path = os.path.join(tempfile.gettempdir(), f"sceneshift-native-{os.getpid()}.log")
    terminal = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 2)
    os.close(log)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")

    def remove() -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)

    atexit.register(remove)
