"""What an output says of the job that made it: `job.json`, read and checked once, then used by name."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from methods.errors import InputError, first_line
from pipeline.paths import JOB_FILE
from pipeline.sources.layout import Layout
from pipeline.spec import JobSpec
from pipeline.storage import Store

FORMAT_VERSION = 2


class AppliedChanges(BaseModel):
    """What the translation changed about labels: attributes that were set, and what became of captions."""

    set: dict[str, Any] = Field(default_factory=dict)
    caption: str | dict[str, str] | None = None


class JobRecord(BaseModel):
    """The content of ``job.json``, without secrets.

    ``spec.output`` is as it was when the job ran; where the output lies now is known by who reads it. ``method`` names
    method and preset (``cyclegan_turbo/day_to_night``). ``shaping`` is the part of the spec that decides the bytes in
    data/ and index/, for the message that names what differs between two jobs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = FORMAT_VERSION
    fingerprint: str
    generation: int = 1
    method: str
    params: dict[str, Any]
    weights: str | None = None
    weights_identity: tuple[str, ...] = ()
    source_format: str
    layout: Layout
    shard_size: int
    batch_size: int
    metric_columns: tuple[str, ...] = ()
    metric_entries: tuple[str | dict[str, dict[str, Any] | None], ...] = ()
    metric_weights: dict[str, str] = Field(default_factory=dict)
    shaping: dict[str, Any] = Field(default_factory=dict)
    label_changes: AppliedChanges = AppliedChanges()
    spec: JobSpec


def stored_job(store: Store) -> JobRecord | None:
    """The output's ``job.json``, or ``None`` for a fresh output.

    Raises:
        InputError: it is damaged, or of another version of the format.
    """
    data = store.read_or_none(JOB_FILE)
    if data is None:
        return None
    try:
        tree = json.loads(data)
    except ValueError:
        raise InputError(
            f"{store.uri(JOB_FILE)}: not readable, the output is damaged or not one of ours; --fresh begins it anew"
        ) from None
    if not isinstance(tree, dict) or not {"version", "fingerprint", "layout", "spec"} <= tree.keys():
        raise InputError(f"{store.uri(JOB_FILE)}: damaged; --fresh begins the output anew")
    if tree["version"] != FORMAT_VERSION:
        raise InputError(
            f"{store.uri()}: written by another version of sceneshift (format {tree['version']}, "
            f"here {FORMAT_VERSION}); use another output folder"
        )
    try:
        return JobRecord.model_validate(tree)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(
            f"{store.uri(JOB_FILE)}: damaged at {where} ({first_line(error)}); --fresh begins the output anew"
        ) from None
