"""All labels of an output as one file, without pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.job import Job
from pipeline.labels import Labels
from pipeline.labels.arrow import from_arrow_value
from pipeline.output.export.rows import Rows
from pipeline.output.export.run import ExportSummary, Watch, look
from pipeline.output.export.writers import Picture, open_writer

SINGLE = ("coco", "bdd100k")
"""The formats that are one file."""


def export_file(
    job: Job, out: Path, format: str, where: str | None, watch: Watch = lambda done, total: None
) -> ExportSummary:
    """Write one COCO document or one list of BDD100K frames. File names are the pictures' keys with their new ending.

    Raises:
        InputError: nothing to export, or ``where`` is no expression.
    """
    rows = Rows(job.store, job.metric_columns, where)
    found, plan = look(job, rows, ["all"], 0)
    writer = open_writer(format, plan, "auto")
    summary = ExportSummary(classes=len(plan.categories.names))
    for table in rows.tables(["key", "variant", "width", "height", "caption", "labels", "labels_raw"]):
        for row in table.to_pylist():
            key = row["key"] + (f"_v{row['variant']}" if job.spec.variants > 1 else "")
            labels = from_arrow_value(row["labels"], row["labels_raw"] or "") if row["labels"] else Labels()
            name = f"{key}.{job.spec.output.image.suffix}"
            for _ in writer.add(Picture("all", name, key, row["width"], row["height"], None, labels), {}):
                raise AssertionError("a format of one file has no files of single pictures")
            summary.pictures += 1
            summary.annotations += len(labels.annotations)
            watch(summary.pictures, found.pictures)
    out.parent.mkdir(parents=True, exist_ok=True)
    hidden = out.with_name(f".{out.name}.partial")
    with open(hidden, "wb") as file:
        for _, data in writer.finish():
            assert not isinstance(data, bytes)
            shutil.copyfileobj(data, file, 1 << 20)
    hidden.replace(out)
    summary.splits["all"] = summary.pictures
    summary.left_out = plan.what_is_left_out()
    return summary
