"""Where the loop writes: the output itself on a disk, else a scratch folder with what is needed to go on."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from methods.train.checkpoint import FOLDER as CHECKPOINTS
from methods.train.checkpoint import checkpoint_path, outdated, steps_of
from methods.train.journal import LOG, VALIDATION, entries, validations
from methods.train.selection import Selection, standing
from pipeline.storage import Store


@contextlib.contextmanager
def training_folder(store: Store, *, fresh: bool = False) -> Iterator[Path]:
    """A local folder with the newest checkpoint and the logs of ``store``; removed afterwards where it is a copy.

    Args:
        store: the output of a training.
        fresh: what it holds is to be thrown away: nothing of it is copied.
    """
    if store.local:
        yield Path(store.path())
        return
    scratch = Path(tempfile.mkdtemp(prefix="sceneshift-train-"))
    try:
        found = [] if fresh else [entry.path for entry in store.list(CHECKPOINTS)]
        for name in [] if fresh else [*found[-1:], LOG, VALIDATION]:
            if name in found or store.exists(name):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                store.fs.get_file(store.path(name), str(scratch / name))
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def rows_of(store: Store, name: str) -> list[dict[str, float]]:
    """The lines of ``log.jsonl`` or ``validation.jsonl`` of an output; none where there is no such file."""
    return entries((store.read_or_none(name) or b"").decode(errors="replace"))


def publish(path: Path, folder: Path, store: Store, keep: int, selection: Selection | None) -> None:
    """Copy what the loop has written in its folder into the output, where the two are not the same.

    After a checkpoint, the output's outdated ones are deleted: it may hold those of earlier attempts, of which the
    folder has the newest alone.
    """
    if store.local:
        return
    store.fs.put_file(str(path), store.path(path.relative_to(folder).as_posix()))
    if path.parent.name == CHECKPOINTS:
        best = None if selection is None else standing(validations(folder), selection)
        steps = steps_of(Path(entry.path).name for entry in store.list(CHECKPOINTS))
        for old in outdated(steps, keep, None if best is None else best.step):
            store.delete(checkpoint_path(Path(), old).as_posix())
