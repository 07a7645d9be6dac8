"""Whole datasets on disk: scenes rendered on all cores, written in order."""

import difflib
import json
import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.streets.annotations import coco_annotations, coco_categories
from jobs.streets.conditions import condition as find_condition
from jobs.streets.containers import FORMATS, Container, open_container
from jobs.streets.dataset_card import GENERATOR, dataset_card
from jobs.streets.encode import EncodedScene, RenderJob, render_scene, to_json
from jobs.streets.whole_file import whole_file
from methods.errors import InputError

SMALLEST, LARGEST, MOST_PIXELS = 32, 2048, 1280 * 1280
"""Sides and area of pictures; the largest take about 2 GB of memory in every worker."""
LAST_SEED = 10**8 - 1
"""Keys have eight digits."""


@dataclass(frozen=True)
class DatasetSummary:
    """What was written. ``boxes`` counts each scene's once; ``files`` and ``bytes`` are those below ``root``."""

    root: Path
    conditions: tuple[str, ...]
    scenes: int
    images: int
    boxes: int
    files: int
    bytes: int


def write_dataset(
    out: str,
    scenes: int,
    size: int | tuple[int, int],
    conditions: Sequence[str],
    seed: int,
    format: str,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    scenes_per_file: int = 64,
    paired_with: str | None = None,
    lossless: bool = False,
) -> DatasetSummary:
    """Render ``scenes`` scenes under every condition into the folder ``out``.

    Args:
        out: a local folder: new, empty, or holding the same dataset (which is then written again).
        scenes: how many; scene i has the seed ``seed + i``, so that ranges of seeds that do not overlap are disjoint.
        size: side of square pictures, or (width, height), in pixels.
        conditions: names of :data:`jobs.streets.conditions.CONDITIONS`; each becomes a subfolder.
        seed: the first scene's seed.
        format: ``webdataset``, ``parquet`` or ``folder``.
        workers: processes; ``None`` for one per core. The bytes written do not depend on it.
        progress: called with the number of scenes done so far, after each.
        scenes_per_file: samples in a tar or Parquet file.
        paired_with: a condition whose true picture every sample of the other conditions carries as its target.
        lossless: pictures as PNG instead of JPEG, whose subsampled colours small pictures suffer from.

    Raises:
        InputError: something is asked for that cannot be done.
    """
    width, height = (size, size) if isinstance(size, int) else size
    chosen = _checked(scenes, width, height, conditions, seed, format, scenes_per_file, paired_with)
    declared = {
        "generator": GENERATOR,
        "format": format,
        "conditions": list(chosen),
        "paired_with": paired_with,
        "scenes": scenes,
        "first_seed": seed,
        "last_seed": seed + scenes - 1,
        "width": width,
        "height": height,
        "scenes_per_file": scenes_per_file,
        **({"pictures": "png"} if lossless else {}),
    }
    root = _claim(out, declared)
    jobs = [RenderJob(seed + i, width, height, chosen, paired_with, lossless) for i in range(scenes)]
    annotations: list[bytes] = []
    with ExitStack() as stack:
        writers = {name: _ConditionWriter(root / name, format, scenes_per_file, stack) for name in chosen}
        for done, scene in enumerate(stack.enter_context(closing(_rendered(jobs, workers))), 1):
            found = coco_annotations(scene.things, done, len(annotations) + 1)
            annotations += [to_json(annotation) for annotation in found]
            for name, writer in writers.items():
                writer.add(scene, name)
            if progress:
                progress(done)
        for name, writer in writers.items():
            writer.container.close()
            writer.finish_bdd100k()
            description = f"street scenes, {name}, seeds {seed} to {seed + scenes - 1}"
            _write_coco(root / name / "labels_coco.json", jobs, annotations, description)
    with whole_file(root / "README.md") as file:
        file.write(dataset_card(declared, len(annotations)).encode())
    files = [path for path in root.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    return DatasetSummary(root, chosen, scenes, scenes * len(chosen), len(annotations), len(files), total)


def _checked(
    scenes: int,
    width: int,
    height: int,
    conditions: Sequence[str],
    seed: int,
    format: str,
    scenes_per_file: int,
    paired_with: str | None,
) -> tuple[str, ...]:
    """The conditions, when everything asked for is possible."""
    if scenes < 1:
        raise InputError(f"scenes: {scenes} is not a number of scenes: give 1 or more.")
    if scenes_per_file < 1:
        raise InputError(f"scenes_per_file: {scenes_per_file} scenes do not fill a file: give 1 or more.")
    if min(width, height) < SMALLEST or max(width, height) > LARGEST or width * height > MOST_PIXELS:
        limits = f"sides of {SMALLEST} to {LARGEST} pixels, {MOST_PIXELS} pixels in all"
        raise InputError(f"size: {width}x{height} is out of range: give {limits}.")
    if seed < 0 or seed + scenes - 1 > LAST_SEED:
        raise InputError(f"seed: {seed} to {seed + scenes - 1} is out of range: seeds run from 0 to {LAST_SEED}.")
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, 1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(FORMATS)}."
        raise InputError(f"format: there is no format '{format}': {hint}")
    if not conditions:
        raise InputError("conditions: none given: name at least one, such as 'day'.")
    names = tuple(find_condition(name).name for name in conditions)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"conditions: '{twice[0]}' is named twice: name it once.")
    if paired_with is not None and names == (find_condition(paired_with).name,):
        raise InputError(f"paired_with: '{paired_with}' is the only condition: add one that it can be the target of.")
    return names


def _claim(out: str, declared: dict[str, Any]) -> Path:
    """The output folder, with ``dataset.json`` in it; refused when it holds anything else than this dataset."""
    if "://" in out:
        raise InputError(f"output: '{out}' is no local folder: write to one, then copy it to the bucket.")
    root = Path(out)
    card = root / "dataset.json"
    text = (json.dumps(declared, indent=2) + "\n").encode()
    if root.exists() and not root.is_dir():
        raise InputError(f"output: '{out}' is a file: name a folder.")
    if root.is_dir() and any(root.iterdir()):
        same = card.is_file() and card.read_bytes() == text
        if not same:
            what = "another sample dataset" if card.is_file() else "other files"
            raise InputError(f"output: '{out}' holds {what}: name a new or empty folder.")
    try:
        for name in declared["conditions"]:
            (root / name).mkdir(parents=True, exist_ok=True)
        with whole_file(card) as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"output: '{out}' cannot be written: {error.strerror}: name another folder.") from error
    return root


def _rendered(jobs: list[RenderJob], workers: int | None) -> Generator[EncodedScene]:
    """Scenes in the order of their jobs."""
    count = min(workers or _cores(), len(jobs))
    if count <= 1:
        yield from map(render_scene, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        yield from pool.imap(render_scene, jobs)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _ConditionWriter:
    """Samples of one condition, and its BDD100K label file as it grows."""

    def __init__(self, folder: Path, format: str, scenes_per_file: int, stack: ExitStack) -> None:
        self.container: Container = open_container(format, folder, scenes_per_file)
        self._growing = stack.enter_context(whole_file(folder / "labels_bdd100k.json"))
        self._separator = b"[\n"

    def add(self, scene: EncodedScene, name: str) -> None:
        members = scene.members[name]
        self.container.add(scene.key, members)
        self._growing.write(self._separator + members["json"])
        self._separator = b",\n"

    def finish_bdd100k(self) -> None:
        self._growing.write(b"\n]\n")


def _write_coco(path: Path, jobs: list[RenderJob], annotations: list[bytes], description: str) -> None:
    """A COCO file, line by line: image ids count from 1 in the order of the scenes."""
    with whole_file(path) as file:
        file.write(b'{"info":' + to_json({"description": description}) + b',"licenses":[],"categories":')
        file.write(to_json(coco_categories()) + b',\n"images":[\n')
        for i, job in enumerate(jobs, 1):
            image = {"id": i, "file_name": f"{job.key}.{job.suffix}", "width": job.width, "height": job.height}
            file.write(to_json(image) + (b",\n" if i < len(jobs) else b"\n"))
        file.write(b'],\n"annotations":[\n' + b",\n".join(annotations) + b"\n]}\n")
