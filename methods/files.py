"""Writing local files so that a reader sees all of a file or none of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to, moved to ``path`` at the end of the block.

    The block may write a file or fill a folder. If it raises, what it wrote is deleted and ``path`` stays as it was.
    Names are per process and thread, so that several may write the same file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        if partial.exists():
            _remove(partial)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one move."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
