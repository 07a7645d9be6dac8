"""Whether the labels belong to the pictures, found out on the first samples before anything is translated."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from methods.counting import counted, does
from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.job import Job
from pipeline.labels import Labels, LabelTable
from pipeline.labels.outside import guess_size
from pipeline.labels.stale_captions import is_caption_name, stale_word
from pipeline.labels.unread import unread_labels
from pipeline.plan import Plan
from pipeline.records import Sample
from pipeline.sources import open_source
from pipeline.sources.folder import FolderSource
from pipeline.storage import redact
from pipeline.translate.labelling import (
    SampleLabels,
    job_table,
    label_sample,
    sample_texts,
    upright_size,
    with_label_parts,
)

_FILES, _SAMPLES = 4, 16
"""Source files looked into, and samples of each."""

_NAMES = 3
_CAPTION = "source.labels.caption changes captions: a new text, or words and what they become"
_BESIDE = "it passes through as the source has it, and source.carry leaves it out"


def check_labels(job: Job, plan: Plan, beside: Sequence[Job] = ()) -> list[str]:
    """Warnings about labels and captions that do not belong to the pictures, one line each.

    Of loose files every key is looked up, of others the first samples of the first, the last and two files between.

    Args:
        beside: other targets of the same source; what they change about labels may make other captions untrue.

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
        samples = list(_first_samples(job, plan)) if job.layout.caption is not None or job.layout.carry else []
        return [*_unread(job, samples, None), *_stale_captions((job, *beside), samples, {})]
    try:
        samples = list(_first_samples(job, plan))
        found = _check_size(job, samples, table)
        stale = _stale_captions((job, *beside), samples, found)
        if table is not None:
            return [*_check_matches(job, plan, samples, table), *_unread(job, samples, table.info.format), *stale]
        if labels.required and 2 * len(found) < len(samples):
            raise InputError(
                f"{_place(job)}: {len(samples) - len(found)} of the first "
                f"{counted(len(samples), 'sample')} have no labels that can be read; source.labels.required is set"
            )
        return [*_unread(job, samples, None), *stale]
    finally:
        if table is not None:
            table.close()


def _unread(job: Job, samples: Iterable[Sample], read: str | None) -> Iterator[str]:
    """Texts of the first samples that look like labels of another format than the one that is read, if any is.

    The run finds those of all samples; here they are said before anything is translated.
    """
    said: set[str] = set()
    for sample in samples:
        for name, reason in unread_labels(sample_texts(sample, job), read, job.layout.caption):
            if name not in said:
                said.add(name)
                yield f"'{name}' of {sample.key}: {reason}"


def _stale_captions(jobs: Sequence[Job], samples: Sequence[Sample], found: Mapping[int, SampleLabels]) -> list[str]:
    """Captions of the first samples, and texts beside them, that say what a translation makes untrue; each name once.

    Args:
        found: the labels of samples, by their place.
    """
    said: dict[str, str] = {}
    for job in jobs:
        changes = job.label_changes
        for at, sample in enumerate(samples if changes.attributes else ()):
            labelled = found.get(at, SampleLabels())
            attributes = {} if labelled.labels is None else labelled.labels.attributes
            caption = changes.captioned(with_label_parts(sample, labelled).caption)
            for name, is_caption, text in _sentences(sample, job.layout.caption, caption):
                stale = None if name in said else stale_word(text, changes.attributes, attributes)
                if stale is not None:
                    attribute, word = stale
                    said[name] = (
                        f"'{name}' of {sample.key} says '{word}', but pictures of {job.spec.name} have {attribute}: "
                        f"{changes.attributes[attribute]}; {_CAPTION if is_caption else _BESIDE}"
                    )
    return [*said.values()]


def _sentences(sample: Sample, role: str | None, caption: str | None) -> Iterator[tuple[str, bool, str]]:
    """(name, whether it is the caption, text) of what is said about a picture."""
    if caption is not None:
        yield role or "caption", True, caption
    for name, value in sample.passthrough.items():
        if name != role and not is_caption_name(name):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str | bytes):
                yield name, False, each if isinstance(each, str) else each.decode("utf-8", "replace")


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


def _check_size(job: Job, samples: list[Sample], table: LabelTable | None) -> dict[int, SampleLabels]:
    """The labels of those of the first samples that have some, by their place.

    Raises:
        InputError: they lie outside their pictures.
    """
    found: dict[int, SampleLabels] = {}
    sized: list[tuple[Labels, tuple[int, int]]] = []
    for at, sample in enumerate(samples):
        if sample.image is None:
            continue
        try:
            decoded = codec.decode(sample.image)
            # The check looks at what lies outside itself.
            labelled = label_sample(sample, table, job.spec.source, decoded, keep_outside=True)
        except BadSample:
            # A row of the run, with this reason.
            continue
        if labelled.labels is not None:
            found[at] = labelled
            sized.append((labelled.labels, upright_size(decoded)))
    guess = guess_size(sized)
    if guess is None:
        return found
    likely = guess.likely
    scaled = "" if likely is None else f", probably {likely[0]}x{likely[1]}; set source.labels.size: {list(likely)}"
    raise InputError(
        f"{_place(job)}: {guess.outside:,} of the first {counted(guess.annotations, 'annotation')} "
        f"{does(guess.outside, 'lies/lie')} outside their pictures of "
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
        known = f"first {counted(len(keys), 'sample')}"
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
        have = ", ".join(table.names(list(range(min(len(table), _NAMES)))))
        others = f"the {counted(len(table), 'label', 'is/are')} for {have}{', ...' if len(table) > _NAMES else ''}"
        warnings.append(
            f"{_place(job)}: {len(without)} of the {known} ({_some(without)}) {does(len(without), 'has/have')} no "
            f"labels; {others if len(table) else 'there are none at all here'}"
        )
    elif job.source_format == "folder" and 2 * len(matched) < len(table):
        lost = [number for number in range(len(table)) if number not in matched][:_NAMES]
        warnings.append(
            f"{_place(job)}: {len(table) - len(matched):,} of {counted(len(table), 'label')} "
            f"{does(len(table) - len(matched), 'matches/match')} no picture "
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
