"""The labels of one sample inside a worker: found, read, brought into the picture's coordinates."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.job import Job
from pipeline.labels import Labels, LabelTable, TableSource, Transform, align, parse_record, parse_sample
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.formats import with_drawn
from pipeline.labels.names import PictureName
from pipeline.labels.outside import without_outside
from pipeline.labels.source import converted, fetched
from pipeline.labels.table import Record
from pipeline.records import Sample
from pipeline.sources.evidence import may_hold_labels
from pipeline.spec import LabelsSpec, SourceSpec
from pipeline.storage import Store

_OF_ANY_SIZE = {"yolo", "openimages"}
"""Formats whose coordinates are shares of the picture's sides."""


@dataclass(frozen=True)
class SampleLabels:
    """What is known about one sample.

    Attributes:
        labels: in coordinates of the upright picture; ``None`` where there are none.
        record: number of the picture in the label table, where one of it was found.
        masks: label maps that the table names for this picture, as files.
        problem: why labels that the sample brings could not be read.
    """

    labels: Labels | None = None
    record: int | None = None
    masks: Mapping[str, bytes] = field(default_factory=dict)
    problem: str | None = None


def job_table(job: Job) -> LabelTable | None:
    """The job's label table on this node; ``None`` for a job without one."""
    labels = job.spec.source.labels
    if labels.uri is None:
        return None
    source = TableSource(labels.uri, labels.format, job.spec.source.storage)
    path = converted(source) if job.label_table is None else fetched(job.label_table, job.store, source)
    return LabelTable(path, job.label_siblings)


def find_record(sample: Sample, table: LabelTable) -> Record | None:
    """The sample's record in the table. Raises BadSample where several may be meant.

    The name of its file counts where the key is another, from a column; where they are the same, the key says more.
    """
    base = posixpath.basename(sample.source_uri)
    same = PictureName.parse(base).stem == PictureName.parse(sample.key).stem
    return table.find(sample.key) if same else table.find(sample.key, base)


def label_sample(
    sample: Sample,
    table: LabelTable | None,
    source: SourceSpec,
    decoded: codec.Decoded,
    *,
    keep_outside: bool = False,
) -> SampleLabels:
    """The sample's labels, from the table or from its own JSON.

    A JSON that nobody declared to be labels (format ``auto``) and that is none is left alone: it stays in
    ``labels_raw``. One that was to be labels, and is damaged, costs its picture the labels and is a ``problem``.

    Args:
        keep_outside: leave annotations in that lie wholly outside the picture.

    Raises:
        BadSample: declared labels that cannot be read; with ``labels.strict`` also others, and a single annotation.
    """
    upright = upright_size(decoded)
    record: Record | None = None
    labels: Labels | None = None
    masks: dict[str, bytes] = {}
    relative = False
    problem: str | None = None
    if table is not None:
        record = find_record(sample, table)
        if record is not None:
            maps = {name: _mask(uri, source) for name, uri in record.masks.items()}
            masks = {name: maps.pop(name) for name in table.info.masks if name in maps}
            labels = with_drawn(parse_record(record.text, upright, table.info), maps, upright, table.info)
            relative = table.info.format in _OF_ANY_SIZE
    elif sample.labels_raw is not None:
        labels, problem = _own_labels(sample.labels_raw, source.labels)
    if labels is not None:
        labels = _aligned(labels, None if relative else source.labels.size, decoded)
        labels = labels if keep_outside else without_outside(labels, upright)
        if labels.problems and source.labels.strict and not keep_outside:
            raise BadSample("bad_labels", f"labels: {labels.problems[0]}")
    return SampleLabels(labels, None if record is None else record.number, masks, problem)


def _own_labels(text: str, spec: LabelsSpec) -> tuple[Labels | None, str | None]:
    """The labels, or why they cannot be read; neither of what was not meant to be labels."""
    try:
        return parse_sample(text, spec.format), None
    except BadSample as error:
        if spec.format != "auto":
            raise
        if not may_hold_labels(text):
            return None, None
        if spec.strict:
            raise
        return None, str(error)


def _aligned(labels: Labels, made_for: tuple[int, int] | None, decoded: codec.Decoded) -> Labels:
    if made_for is None:
        return align(labels, decoded.orientation, decoded.raw_size)
    stated = replace(labels, width=made_for[0], height=made_for[1])
    return Transform.resize(made_for, upright_size(decoded)).apply(stated)


def _mask(uri: str, source: SourceSpec) -> bytes:
    try:
        return Store(uri, source.storage).read("")
    except InputError as error:
        raise BadSample("bad_labels", f"labels: {error}") from None


def with_label_parts(sample: Sample, found: SampleLabels) -> Sample:
    """The sample with what its labels bring along: label maps, and a caption where it has none of its own."""
    captions = found.labels.captions if found.labels is not None else []
    caption = sample.caption if sample.caption is not None or not captions else captions[0]
    return replace(sample, masks={**sample.masks, **found.masks}, caption=caption)


def sample_texts(sample: Sample, job: Job) -> dict[str, object]:
    """What of a sample might be labels that nothing reads, by the name of its member or column."""
    return {(job.layout.caption or ""): sample.caption, **sample.passthrough}


def move_labels(labels: Labels | None, job: Job, upright: tuple[int, int], size: tuple[int, int]) -> Any:
    """Upright labels as they fit an output of ``size`` = (width, height), ready for Arrow.

    Args:
        upright: (width, height) of the picture that the labels are in, cut as the method cut it.
    """
    moved = moved_labels(labels, upright, size)
    return None if moved is None else to_arrow_value(job.label_changes.apply(moved))


def moved_labels(labels: Labels | None, upright: tuple[int, int], size: tuple[int, int]) -> Labels | None:
    """Upright labels in the coordinates of an output of ``size``; arguments as :func:`move_labels`."""
    return None if labels is None else Transform.resize(upright, size).apply(labels)


def upright_size(decoded: codec.Decoded) -> tuple[int, int]:
    """(width, height) of the upright picture before it was cut."""
    width, height = decoded.raw_size
    return (height, width) if decoded.orientation >= 5 else (width, height)
