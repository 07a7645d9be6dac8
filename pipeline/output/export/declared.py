"""The category list of an output's source."""

from __future__ import annotations

from collections import Counter
from typing import Any

from methods.errors import InputError
from pipeline.job import Job
from pipeline.translate.passthrough import load_table


def declared_categories(job: Job, notes: Counter[str]) -> list[dict[str, Any]] | None:
    """The list as the label file has it; ``None`` where there is no such file, or it cannot be read any more.

    Where it cannot be read, ``notes`` says so: categories that no picture uses are missing then.
    """
    try:
        table = load_table(job.spec.source.labels, job.spec.source.storage)
    except InputError:
        notes["label file of the source that cannot be read any more: categories without objects are missing"] += 1
        return None
    return list(table.categories) if table is not None and table.categories else None
