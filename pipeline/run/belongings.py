"""What in an output folder is a job's own, by the job's record; all else is somebody else's and never touched.

Own are the files below ``_sceneshift/``, the summaries by their names, and in ``data/`` and ``index/`` the shards of
the source files that the recorded plan names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from methods.errors import InputError
from pipeline.paths import (
    DATA,
    FEATURES,
    IMAGES,
    INDEX,
    JOB_FILE,
    LOCK_FILE,
    OWN,
    PART_LOCKS,
    SUCCESS_FILE,
    SUMMARIES,
    part_path,
)
from pipeline.plan import FilePlan, read_plan
from pipeline.sink.index import name_of_shard
from pipeline.sink.note import read_note
from pipeline.storage import Entry, Store


def shard_stem(path: str) -> tuple[str, int] | None:
    """(stem of the source file, generation) of a data file, index part or feature file, by its name alone."""
    folder = path.rpartition("/")[0]
    if folder not in (DATA, INDEX) and not folder.startswith(FEATURES):
        return None
    found = name_of_shard(path)
    return None if found is None else found[:2]


def foreign(store: Store, files: Iterable[FilePlan]) -> str | None:
    """Something in the output folder that no job over these source files has put there; the first name of it.

    Shards are no strangers: a run whose output was deleted may have finished some a moment later.
    """
    stems = {each.file.stem for each in files}
    for entry in store.list():
        shard = shard_stem(entry.path)
        if not entry.path.startswith(f"{OWN}/") and not (shard and shard[0] in stems):
            return entry.path
    return None


def clear(store: Store, files: Iterable[FilePlan], *, record_too: bool = True) -> None:
    """Remove what belongs to a job from its output, commits first, so that no reader meets a half of it.

    Locks stay; the job's record is the last to go, or stays as well.
    """
    store.delete(SUCCESS_FILE)
    clear_shards(store, files)
    for path in SUMMARIES:
        store.delete(path)
    for entry in store.list(OWN):
        if entry.path not in (LOCK_FILE, JOB_FILE) and not entry.path.startswith(f"{PART_LOCKS}/"):
            store.delete(entry.path)
    if record_too:
        store.delete(JOB_FILE)


def clear_unfinished(store: Store, files: Iterable[FilePlan]) -> None:
    """Remove what killed processes left of the shards of these files, which nobody else may be writing now."""
    stems = {each.file.stem for each in files}
    for folder in (DATA, INDEX, IMAGES, FEATURES):
        for path, meant in store.unfinished(folder).items():
            # Loose pictures lie in a folder that has the shard's name.
            shard = name_of_shard(meant) or name_of_shard(f"{meant.rpartition('/')[0]}.")
            if shard is not None and shard[0] in stems:
                store.delete(path)


def clear_shards(store: Store, files: Iterable[FilePlan], keep: int | None = None) -> None:
    """Remove the shards of these source files and of those that the recorded plan names; not of generation ``keep``."""
    stems = {each.file.stem for each in files}
    # A damaged plan names nothing; then the parts themselves do.
    with contextlib.suppress(InputError):
        stems |= {each.file.stem for each in read_plan(store)}
    for folder in (INDEX, DATA, FEATURES):
        for entry in _shards(store, folder, stems, keep):
            store.delete(entry.path)


def _shards(store: Store, folder: str, stems: set[str], keep: int | None) -> list[Entry]:
    found: list[Entry] = []
    for entry in store.list(folder):
        shard = shard_stem(entry.path)
        if shard is None or shard[1] == keep:
            continue
        if shard[0] not in stems and folder == INDEX and _is_part(store, entry.path):
            stems.add(shard[0])
        if shard[0] in stems:
            found.append(entry)
    return found


def _is_part(store: Store, path: str) -> bool:
    try:
        return path == part_path(read_note(store.read(path)).shard)
    except Exception:
        return False


def generations(paths: Collection[str]) -> int:
    """The highest generation among the names of shards; 0 where there is none."""
    return max((shard[1] for path in paths if (shard := shard_stem(path))), default=0)
