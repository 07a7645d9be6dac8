"""All labels of an output as one document, without pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from methods.errors import InputError
from pipeline.job import Job
from pipeline.labels import Labels
from pipeline.labels.arrow import from_arrow_value
from pipeline.output.export.folder import put_file
from pipeline.output.export.formats import open_writer
from pipeline.output.export.pictures import PictureReader
from pipeline.output.export.rows import Rows
from pipeline.output.export.run import ExportSummary, Watch, look
from pipeline.output.export.writers import Picture
from pipeline.paths import LABELS_FILE
from pipeline.storage import Store

SINGLE = ("coco", "bdd100k")
"""The formats that are one file."""

_COLUMNS = ("key", "variant", "shard", "row", "width", "height", "caption", "labels", "labels_raw")
_ALL = "all"


def export_file(
    job: Job, out: Path, format: str, where: str | None, watch: Watch = lambda done, total: None
) -> ExportSummary:
    """Write one COCO document or one list of BDD100K frames. File names are the pictures' keys with their new ending.

    Raises:
        InputError: nothing to export, or ``where`` is no expression.
    """
    document, summary = _document(job, format, where, lambda shard: {}, watch)
    put_file(Store(str(out.absolute().parent)), out.name, document)
    return summary


def write_labels(job: Job) -> None:
    """Write the COCO document of an output of loose files anew, with paths relative to the output.

    Nothing is written where no picture is there yet.
    """
    reader = PictureReader(job)
    try:
        document, _ = _document(job, "coco", None, reader.places)
    except InputError:
        job.store.delete(LABELS_FILE)
        return
    put_file(job.store, LABELS_FILE, document)


def _document(
    job: Job,
    format: str,
    where: str | None,
    places: Callable[[str], Mapping[int, str]],
    watch: Watch = lambda done, total: None,
) -> tuple[BinaryIO, ExportSummary]:
    """The document as an open file. ``places`` gives the paths of a shard's pictures by their row, where it has any."""
    rows = Rows(job.store, job.metric_columns, where)
    found, plan = look(job, rows, [_ALL], 0)
    writer = open_writer(format, plan, "auto")
    summary = ExportSummary(classes=len(plan.categories.names))
    unlabelled = 0
    for table in rows.tables(_COLUMNS):
        known: Mapping[int, str] | None = None
        for row in table.to_pylist():
            known = places(row["shard"]) if known is None else known
            picture = _picture(job, row, known)
            for _ in writer.add(picture, {}):
                raise AssertionError("a format of one file has no files of single pictures")
            summary.pictures += 1
            summary.annotations += len(picture.labels.annotations)
            unlabelled += row["labels"] is None
            watch(summary.pictures, found.pictures)
    summary.splits[_ALL] = summary.pictures
    _, document = next(iter(writer.finish()))
    assert not isinstance(document, bytes)
    summary.left_out = plan.what_is_left_out() | summary.without_labels(unlabelled)
    return document, summary


def _picture(job: Job, row: Mapping[str, Any], places: Mapping[int, str]) -> Picture:
    key = row["key"] + (f"_v{row['variant']}" if job.spec.variants > 1 else "")
    labels = from_arrow_value(row["labels"], row["labels_raw"] or "") if row["labels"] else Labels()
    name = places.get(row["row"]) or f"{key}.{job.spec.output.image.suffix}"
    return Picture(_ALL, name, key, row["width"], row["height"], None, labels)
