"""The category list of an output's source."""

from __future__ import annotations

from typing import Any

from pipeline.job import Job
from pipeline.labels.source import read_info


def declared_categories(job: Job) -> list[dict[str, Any]] | None:
    """The list as the source's label files have it, from the output's own record; ``None`` where they have none."""
    info = read_info(job.store)
    return [dict(each) for each in info.categories] if info is not None and info.categories else None
