"""Where the loop writes: the output itself on a disk, else a scratch folder with what is needed to go on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from methods.train.checkpoint import FOLDER as CHECKPOINTS
from methods.train.journal import LOG, VALIDATION
from pipeline.storage import Store


@contextlib.contextmanager
def training_folder(store: Store) -> Iterator[Path]:
    """A local folder with the newest checkpoint and the logs of ``store``; removed afterwards where it is a copy."""
    if store.local:
        yield Path(store.path())
        return
    scratch = Path(tempfile.mkdtemp(prefix="sceneshift-train-"))
    try:
        found = [entry.path for entry in store.list(CHECKPOINTS)]
        for name in [*found[-1:], LOG, VALIDATION]:
            if name in found or store.exists(name):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                store.fs.get_file(store.path(name), str(scratch / name))
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
