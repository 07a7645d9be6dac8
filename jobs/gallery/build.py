"""Runs the gallery's jobs one after the other and puts what came out on a page and a sheet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.gallery.exhibit import Absent, Exhibit
from jobs.gallery.page import write_page
from jobs.gallery.sheet import write_sheet
from jobs.gallery.shown import read_shown
from methods import registry, weights
from methods.errors import InputError
from pipeline.paths import METRICS_FILE
from pipeline.run.driver import run_job
from pipeline.sink.schema import passthrough_columns
from pipeline.spec import JobSpec

LABEL_MAPS = ("coco_stuff", "cityscapes", "bdd100k")
"""Values of ``source.condition`` whose pictures are class ids."""
SAMPLES = 4
"""Pictures of each job on the page."""


def build(
    specs: Sequence[Path], out: Path, sheet: Path | None = None, note: Callable[[str], None] = lambda text: None
) -> tuple[list[Exhibit], list[Absent]]:
    """Run ``specs`` and write ``out/index.html``, and a contact sheet.

    Args:
        specs: job files, each with ``output.pairs: true`` on a local disk.
        out: a folder.
        sheet: where the contact sheet goes; none is ``out/sheet.jpg``.
        note: called with a line for whoever watches.

    Returns:
        What is shown, and which of the package's methods are not.

    Raises:
        InputError: no job could be shown; or a job that is wrong in another way than lacking its weights.
    """
    exhibits, absent = [], []
    for path in specs:
        spec = JobSpec.load(path)
        note(f"{spec.name}: {spec.method.name}")
        missing = missing_weights(spec)
        if missing is not None:
            absent.append(Absent(spec.method.name, missing))
            continue
        exhibits.append(_exhibit(path, spec))
    if not exhibits:
        raise InputError("not one job of the gallery has its weights: nothing to show")
    met = {each.method for each in (*exhibits, *absent)}
    absent += [Absent(name, "no job in the gallery: no bundled weights") for name in own_methods() if name not in met]
    out.mkdir(parents=True, exist_ok=True)
    write_page(out / "index.html", exhibits, absent)
    write_sheet(sheet or out / "sheet.jpg", exhibits)
    return exhibits, absent


def missing_weights(spec: JobSpec) -> str | None:
    """Why the job cannot run without a download, in one line; ``None`` when all its weights are bundled."""
    info, params, uri = registry.resolve(spec.method.name, spec.method.preset, spec.method.weights, spec.method.params)
    for needed in info.weight_uris(params, uri):
        if needed.startswith("bundled://"):
            try:
                weights.fetch(needed)
            except InputError as error:
                return str(error)
    return None


def own_methods() -> list[str]:
    """The methods of this package, without those of third parties."""
    return sorted(name for name, info in registry.registered().items() if info.implementation.startswith("methods."))


def _exhibit(path: Path, spec: JobSpec) -> Exhibit:
    begun = time.monotonic()
    outcome = run_job(spec, local=True)
    seconds = 0.0 if outcome.state == "nothing_to_do" else time.monotonic() - begun
    job = outcome.job
    target = job.layout.target
    truth = passthrough_columns(job.layout, pairs=True)[target] if target else None
    label_maps = spec.source.condition in LABEL_MAPS
    shown = read_shown(Path(job.store.path()), SAMPLES, truth, label_maps=label_maps)
    summary = json.loads(job.store.read(METRICS_FILE))
    return Exhibit(spec.name, spec.method.name, path.read_text(encoding="utf-8"), shown, summary, seconds)
