"""`sceneshift export`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from methods.errors import InputError
from methods.plugins import nearest
from pipeline.job import Job
from pipeline.labels import Labels
from pipeline.labels.arrow import from_arrow_value
from pipeline.labels.export import to_bdd100k, to_coco
from pipeline.sink.index import FOLDER, read_part
from pipeline.translate.passthrough import load_table

FORMATS = ("coco", "bdd100k")


def export_command(console: Console, output: str, out: Path, format: str) -> int:
    """Write one label file for all translated pictures. File names are the pictures' keys with their new ending."""
    if format not in FORMATS:
        raise InputError(f"--format {format}: {nearest(format, list(FORMATS))}")
    store, tree = open_output(output)
    job = Job.from_description(tree, store)
    table = load_table(job.spec.source.labels, job.spec.source.storage)
    rows = list(_rows(store, job.spec.output.image.suffix, job.spec.variants))
    if format == "coco":
        document: Any = to_coco(rows, table.categories if table and table.categories else None)
    else:
        document = to_bdd100k(rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    console.result({"file": str(out), "pictures": len(rows)})
    console.say(f"Wrote the labels of {len(rows)} pictures to {out}")
    return DONE


def _rows(store: Any, suffix: str, variants: int) -> Iterator[tuple[str, str, int, int, Labels]]:
    for entry in store.list(FOLDER):
        for row in read_part(store.read(entry.path)).to_pylist():
            if row["status"] != "ok":
                continue
            key = row["key"] + (f"_v{row['variant']}" if variants > 1 else "")
            labels = from_arrow_value(row["labels"], row["labels_raw"] or "") if row["labels"] else Labels()
            yield key, f"{key}.{suffix}", row["width"], row["height"], labels
