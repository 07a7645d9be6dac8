"""Files of a sample dataset appear when they are whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file under a name nobody reads yet, moved to ``path`` at the end; removed when it was not finished.

    Not :func:`methods.files.replacing`, whose names differ per process: a dataset that was killed and is written again
    takes over what was begun, so that nothing is left over in it.
    """
    waiting = path.with_name(f".{path.name}.part")
    try:
        with waiting.open("wb") as file:
            yield file
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)
