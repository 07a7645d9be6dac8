"""Whether the labels belong to the pictures, found out on the first samples before anything is translated."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from itertools import islice

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.job import Job
from pipeline.labels import Labels, LabelTable
from pipeline.labels.outside import guess_size
from pipeline.labels.unread import text_format
from pipeline.plan import Plan
from pipeline.records import Sample
from pipeline.sources import open_source
from pipeline.sources.folder import FolderSource
from pipeline.storage import redact
from pipeline.translate.labelling import job_table, label_sample, upright_size

_FILES, _SAMPLES = 4, 16
"""Source files looked into, and samples of each."""

_NAMES = 3


def check_labels(job: Job, plan: Plan) -> list[str]:
    """Warnings about labels and pictures that do not match, one line each.

    Of loose files every key is looked up, of others the first samples of the first, the last and two files between.

    Raises:
        InputError: the labels were made for pictures of another size; or, with ``labels.required``, less than half of
            the labels or of the pictures match.
    """
    labels = job.spec.source.labels
    table = job_table(job)
    if table is None and job.layout.labels is None:
        if labels.required:
            raise InputError(
                f"{redact(job.spec.source.uris[0])}: source.labels.required is set, but the samples have no labels and "
                "source.labels.uri names none"
            )
        return list(_unread(job, _first_samples(job, plan), None))
    try:
        samples = list(_first_samples(job, plan))
        labelled = _check_size(job, samples, table)
        if table is not None:
            return [*_check_matches(job, plan, samples, table), *_unread(job, samples, table.info.format)]
        if labels.required and 2 * labelled < len(samples):
            raise InputError(
                f"{_place(job)}: {len(samples) - labelled} of the first {len(samples)} samples have no labels that can "
                "be read; source.labels.required is set"
            )
        return []
    finally:
        if table is not None:
            table.close()


def _unread(job: Job, samples: Iterable[Sample], read: str | None) -> Iterator[str]:
    """Texts of the first samples that look like labels of another format than the one that is read, if any is."""
    if job.layout.caption is None and not job.layout.carry:
        return
    said: set[str] = set()
    for sample in samples:
        for name, text in {(job.layout.caption or ""): sample.caption, **sample.passthrough}.items():
            format = text_format(text) if isinstance(text, str | bytes) else None
            if format is None or format == read or name in said:
                continue
            said.add(name)
            role = "is taken for the caption" if name == job.layout.caption else "passes through unchanged"
            yield (
                f"'{name}' of {sample.key} looks like {format} labels, but {role}: boxes are not read and will not "
                f"follow the pictures; put these files in a folder and name it with source.labels.uri"
            )


def _first_samples(job: Job, plan: Plan) -> Iterator[Sample]:
    files = [each.file for each in plan.files]
    step = max(1, (len(files) - 1) // (_FILES - 1)) if len(files) > 1 else 1
    chosen = files[::step][: _FILES - 1] + files[-1:]
    limited = job.spec.source.model_copy(update={"limit": min(_SAMPLES, job.spec.source.limit or _SAMPLES)})
    source = open_source(limited, job.source_format, _SAMPLES)
    for file in dict.fromkeys(chosen):
        try:
            for shard in source.read(file, job.layout, _SAMPLES):
                yield from islice(shard.samples, _SAMPLES)
        except Exception:
            # What is wrong with the file, or with the code that reads it, is said by the run.
            continue


def _check_size(job: Job, samples: list[Sample], table: LabelTable | None) -> int:
    """How many of the first samples have labels. Raises InputError when those lie outside their pictures."""
    found: list[tuple[Labels, tuple[int, int]]] = []
    for sample in samples:
        if sample.image is None:
            continue
        try:
            decoded = codec.decode(sample.image)
            # The check looks at what lies outside itself.
            labels = label_sample(sample, table, job.spec.source, decoded, keep_outside=True).labels
        except BadSample:
            # A row of the run, with this reason.
            continue
        if labels is not None:
            found.append((labels, upright_size(decoded)))
    guess = guess_size(found)
    if guess is None:
        return len(found)
    likely = guess.likely
    scaled = "" if likely is None else f", probably {likely[0]}x{likely[1]}; set source.labels.size: {list(likely)}"
    raise InputError(
        f"{_place(job)}: {guess.outside} of the first {guess.annotations} annotations lie outside their pictures of "
        f"{guess.picture[0]}x{guess.picture[1]}: they were made for pictures of another size"
        f"{scaled or '; set source.labels.size: [width, height] to the size that they were made for'}"
    )


def _check_matches(job: Job, plan: Plan, samples: list[Sample], table: LabelTable) -> list[str]:
    source = job.source()
    if isinstance(source, FolderSource):
        keys = [key for each in plan.files for key in source.keys(each.file)]
        known = "pictures"
    else:
        keys = [sample.key for sample in samples if sample.problem is None]
        known = f"first {len(keys)} samples"
    matched: set[int] = set()
    without: list[str] = []
    for key in keys:
        try:
            record = table.find(key)
        except BadSample:
            # Labels that may belong to several pictures are a row of the run, with this reason.
            continue
        if record is None:
            without.append(key)
        else:
            matched.add(record.number)
    if not keys:
        return []
    warnings = []
    if 2 * len(without) > len(keys):
        have = ", ".join(table.names(list(range(min(len(table), _NAMES))))) or "no picture at all"
        warnings.append(
            f"{_place(job)}: {len(without)} of the {known} ({_some(without)}) have no labels; "
            f"the {len(table)} labels are for {have}{', ...' if len(table) > _NAMES else ''}"
        )
    elif job.source_format == "folder" and 2 * len(matched) < len(table):
        lost = [number for number in range(len(table)) if number not in matched][:_NAMES]
        warnings.append(
            f"{_place(job)}: {len(table) - len(matched)} of {len(table)} labels match no picture "
            f"({', '.join(table.names(lost))}, ...)"
        )
    if warnings and job.spec.source.labels.required:
        raise InputError(f"{warnings[0]}; source.labels.required is set")
    return warnings


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")


def _place(job: Job) -> str:
    uri = job.spec.source.labels.uri
    return redact(uri) if uri is not None else posixpath.join(redact(job.spec.source.uris[0]), job.layout.labels or "")
