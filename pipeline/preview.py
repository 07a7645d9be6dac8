"""A look before jobs: their first few samples translated in this process, side by side in one PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from methods.errors import BadSample, InputError
from pipeline import codec, quantity
from pipeline.findings import merge
from pipeline.job import Job, prepare
from pipeline.keep import KeepExpression
from pipeline.plan import FilePlan, Plan
from pipeline.records import Row, Sample, Shard, SourceFile, Translated
from pipeline.run.label_check import check_labels
from pipeline.run.writable import try_to_write
from pipeline.sources import open_source
from pipeline.spec import JobSpec
from pipeline.storage import Store, redact
from pipeline.targets import naming, target_jobs

CELL = 384
"""Longest side of a picture in the preview, in pixels; smaller ones stay as they are."""

_MOST = 64
_GAP, _LINE, _MARGIN = 8, 16, 12
_INK, _SOFT, _PAPER, _EMPTY = (24, 27, 31), (96, 104, 114), (255, 255, 255), (236, 239, 242)


@dataclass(frozen=True)
class _Line:
    """One sample: its pictures by column (``None``: not there), and what is written under them."""

    pictures: tuple[Image.Image | None, ...]
    text: str


def preview(spec: JobSpec, count: int, out: Path) -> Path:
    """Of one job, as :func:`preview_jobs`; returns ``out``."""
    preview_jobs([spec], count, out)
    return out


def preview_jobs(
    specs: Sequence[JobSpec], count: int, out: Path, note: Callable[[str], None] = lambda text: None
) -> dict[str, float | None]:
    """Translate the first ``count`` samples and write source, outputs and (if any) true target as one PNG.

    Each job has a column, and of a job with targets each of them. Outputs and their locks are left alone. Samples that
    would be rejected or filtered are shown and said to be.

    Args:
        specs: jobs over the same samples.
        note: called with a line for a person about each thing that a run would say too: what of the source is left
            out, labels that do not belong to the pictures, samples that are rejected, annotations that cannot be read.

    Returns:
        Seconds per picture that the method took, by column, those of its first batch among them; ``None`` where it
        translated none.

    Raises:
        InputError: a spec cannot work, jobs have other samples, labels are of other pictures, or the PNG cannot
            be written.
    """
    if not 1 <= count <= _MOST:
        raise InputError(f"a preview shows 1 to {_MOST} samples, not {count}")
    # before anything is translated for it
    try_to_write(Store(str(out.absolute().parent)))
    jobs: dict[str, Job] = {}
    for label, spec in zip(_labels(specs), specs, strict=True):
        for name, each in (target_jobs(spec) or {"": spec}).items():
            with naming(name):
                jobs[" ".join(filter(None, (label, name)))] = prepare(each)
    first = next(iter(jobs.values()))
    samples = tuple(islice(_samples(first, count, _looked_at(first, count, jobs.values(), note)), count))
    if not samples:
        raise InputError(f"{redact(first.spec.source.uris[0])}: holds no sample to show")
    made: dict[str, Sequence[Row]] = {}
    seconds: dict[str, float | None] = {}
    for name, job in jobs.items():
        own = samples
        if job.spec.source != first.spec.source:
            own = tuple(islice(_samples(job, count, _looked_at(job, count, [], note)), count))
        done = _translate(job, own)
        made[name] = done.rows
        for text in dict.fromkeys(_trouble(done.rows)):
            note(f"{name}: {text}" if name else text)
        good = sum(row.status == "ok" for row in done.rows)
        seconds[name or "output"] = done.device_seconds / good if good else None
    _check_same(made)
    lines = [
        _line(dict(zip(jobs, row, strict=True)), samples[number // first.spec.variants], jobs)
        for number, row in enumerate(zip(*made.values(), strict=True))
    ]
    outputs = [
        name if took is None else f"{name}, {quantity.duration(took)} per picture" for name, took in seconds.items()
    ]
    heads = ["source", *outputs, *(["true target"] if first.layout.target else [])]
    png = io.BytesIO()
    _sheet(heads, lines).save(png, format="PNG")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png.getvalue())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return seconds


def _labels(specs: Sequence[JobSpec]) -> list[str]:
    """What the columns of several jobs are called: by job, or else by method, numbered where that is not enough."""
    if len(specs) == 1:
        return [""]
    methods = [f"{spec.method.name}{f'/{spec.method.preset}' if spec.method.preset else ''}" for spec in specs]
    for names in ([spec.name for spec in specs], methods):
        if len(set(names)) == len(names):
            return names
    return [f"{number} {name}" for number, name in enumerate(methods, start=1)]


def _check_same(made: Mapping[str, Sequence[Row]]) -> None:
    (first, rows), *others = made.items()
    for name, own in others:
        if [(row.key, row.variant) for row in rows] != [(row.key, row.variant) for row in own]:
            raise InputError(
                f"'{first}' and '{name}' begin with other samples ({_begin(rows)}; {_begin(own)}): a preview of "
                "several jobs needs one source and as many variants"
            )


def _begin(rows: Sequence[Row]) -> str:
    return ", ".join(f"{row.key}/{row.variant}" for row in rows[:3]) or "none"


def _looked_at(job: Job, count: int, jobs: Iterable[Job], note: Callable[[str], None]) -> list[SourceFile]:
    """The source's files; what a run would say of them and of their labels before it begins is said.

    Args:
        jobs: all that there are, of which some may have the same source.
    """
    survey = open_source(job.spec.source, job.source_format, count).survey()
    plan = Plan(tuple(map(FilePlan, survey.files)), (), (), merge(survey.findings, job.layout.findings()))
    beside = [each for each in jobs if each is not job and each.spec.source == job.spec.source]
    for text in (*job.notes, *check_labels(job, plan, beside), *(finding.text() for finding in plan.findings)):
        note(text)
    return survey.files


def _trouble(rows: Iterable[Row]) -> Iterator[str]:
    """A line about each sample that is rejected, and each annotation with something that cannot be read."""
    for row in rows:
        if row.rejection is not None:
            yield f"{row.key}: rejected, {row.rejection.error}: {row.rejection.message}"
        for problem in row.label_problems:
            yield f"{row.key}: in its labels, {problem}"


def _samples(job: Job, count: int, files: Iterable[SourceFile]) -> Iterator[Sample]:
    """The job's samples in order, read in shards no larger than what is wanted."""
    source = open_source(job.spec.source, job.source_format, count)
    for file in files:
        for shard in source.read(file, job.layout, count):
            yield from shard.samples


def _translate(job: Job, samples: Sequence[Sample]) -> Translated:
    from pipeline.translate.shard import translate_shard
    from pipeline.translate.translator import Translator

    # With `keep` a filtered sample would come without its picture, and without `pairs` all without their source.
    output = job.spec.output.model_copy(update={"pairs": True})
    translator = Translator(replace(job, spec=job.spec.model_copy(update={"output": output, "keep": None})))
    try:
        return translate_shard(translator, Shard("preview", "preview", 0, tuple(samples), last=True))
    finally:
        translator.close()


def _line(rows: Mapping[str, Row], sample: Sample, jobs: Mapping[str, Job]) -> _Line:
    """What became of one sample, by target."""
    first = next(iter(rows.values()))
    source = next((row.source_image for row in rows.values() if row.source_image is not None), sample.image)
    pictures = [_picture(source), *(_picture(row.image) for row in rows.values())]
    if target := next(iter(jobs.values())).layout.target:
        pictures.append(_picture(next((row.masks[target] for row in rows.values() if target in row.masks), None)))
    name = first.key + (f", variant {first.variant}" if jobs[next(iter(jobs))].spec.variants > 1 else "")
    said = [f"{target}: {text}" if target else text for target, text in _said(rows, jobs)]
    return _Line(tuple(pictures), "\n".join([name, *said]))


def _said(rows: Mapping[str, Row], jobs: Mapping[str, Job]) -> Iterator[tuple[str, str]]:
    for target, row in rows.items():
        if row.rejection is not None:
            yield target, f"rejected, {row.rejection.error}: {row.rejection.message}"
            continue
        values = ", ".join(f"{column} {value:.4g}" for column, value in row.metrics.items() if value == value)
        spec = jobs[target].spec
        if spec.keep and not KeepExpression.parse(spec.keep, jobs[target].metric_columns).keeps(row.metrics):
            values += f"\nfiltered, not kept by: {spec.keep}"
        yield target, values


def _picture(data: bytes | None) -> Image.Image | None:
    if data is None:
        return None
    try:
        pixels = codec.decode(data).pixels
    except BadSample:
        return None
    height, width = pixels.shape[:2]
    scale = min(1.0, CELL / max(width, height))
    return Image.fromarray(codec.resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale)))))


def _sheet(heads: Sequence[str], lines: Sequence[_Line]) -> Image.Image:
    """All lines under each other, one column per head."""
    font = ImageFont.load_default(12)
    known = [picture for line in lines for picture in line.pictures if picture is not None]
    cell = max([160, *(picture.width for picture in known)])
    width = 2 * _MARGIN + len(heads) * cell + (len(heads) - 1) * _GAP
    texts = [_wrapped(line.text, font, width - 2 * _MARGIN) for line in lines]
    heights = [max([48, *(p.height for p in line.pictures if p is not None)]) for line in lines]
    total = sum(h + _LINE * (len(text) + 1) for h, text in zip(heights, texts, strict=True))
    sheet = Image.new("RGB", (width, 2 * _MARGIN + _LINE + total), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, head in enumerate(heads):
        draw.text((_MARGIN + number * (cell + _GAP), _MARGIN - 4), head, fill=_SOFT, font=font)
    y = _MARGIN + _LINE
    for line, text, height in zip(lines, texts, heights, strict=True):
        for number, picture in enumerate(line.pictures):
            x = _MARGIN + number * (cell + _GAP)
            if picture is None:
                draw.rectangle((x, y, x + cell - 1, y + height - 1), fill=_EMPTY)
                draw.text((x + 8, y + height // 2 - 8), "no picture", fill=_SOFT, font=font)
            else:
                sheet.paste(picture, (x, y))
        y += height + 4
        for number, words in enumerate(text):
            draw.text((_MARGIN, y), words, fill=_SOFT if number else _INK, font=font)
            y += _LINE
        y += _LINE - 4
    return sheet


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines that fit."""
    columns = max(20, int(width / font.getlength("n")))
    found = [piece for line in text.splitlines() for piece in textwrap.wrap(line, columns) or [""]]
    return found[:8]
