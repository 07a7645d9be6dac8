"""What libraries warn of (Pillow of odd EXIF data, say) is for the log of a run, not for the user's terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

_log = logging.getLogger("py.warnings")
# With a handler of its own the logger writes nothing where no run listens.
_log.addHandler(logging.NullHandler())


@contextlib.contextmanager
def logged_warnings() -> Iterator[None]:
    """Inside, Python's warnings are log records. Who asked for warnings (``python -W``) gets them as before."""
    if sys.warnoptions:
        yield
        return
    shown = warnings.showwarning
    warnings.showwarning = _record
    try:
        yield
    finally:
        warnings.showwarning = shown


def _record(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    _log.warning("%s:%d: %s: %s", filename, lineno, category.__name__, message)
