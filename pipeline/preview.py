"""A look before a job: its first few samples translated in this process, side by side in one PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.job import Job, prepare
from pipeline.keep import KeepExpression
from pipeline.records import Row, Sample, Shard
from pipeline.sources import open_source
from pipeline.spec import JobSpec
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
    """Translate the first ``count`` samples and write source, output and (if any) true target as one PNG.

    Of a job with targets each has a column. The job's output and its lock are left alone. Samples that would be
    rejected or filtered are shown and said to be.

    Returns:
        ``out``.

    Raises:
        InputError: the spec cannot work, or the PNG cannot be written.
    """
    if not 1 <= count <= _MOST:
        raise InputError(f"a preview shows 1 to {_MOST} samples, not {count}")
    jobs: dict[str, Job] = {}
    for name, each in (target_jobs(spec) or {"": spec}).items():
        with naming(name):
            jobs[name] = prepare(each)
    first = next(iter(jobs.values()))
    samples = tuple(islice(_samples(first, count), count))
    rows = zip(*(_translate(job, samples) for job in jobs.values()), strict=True)
    lines = [
        _line(dict(zip(jobs, row, strict=True)), samples[number // spec.variants], jobs)
        for number, row in enumerate(rows)
    ]
    heads = ["source", *(name or "output" for name in jobs), *(["true target"] if first.layout.target else [])]
    png = io.BytesIO()
    _sheet(heads, lines).save(png, format="PNG")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png.getvalue())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return out


def _samples(job: Job, count: int) -> Iterator[Sample]:
    """The job's samples in order, read in shards no larger than what is wanted."""
    source = open_source(job.spec.source, job.source_format, count)
    for file in source.plan():
        for shard in source.read(file, job.layout, count):
            yield from shard.samples


def _translate(job: Job, samples: Sequence[Sample]) -> Sequence[Row]:
    from pipeline.translate.shard import translate_shard
    from pipeline.translate.translator import Translator

    # With `keep` a filtered sample would come without its picture, and without `pairs` all without their source.
    output = job.spec.output.model_copy(update={"pairs": True})
    translator = Translator(replace(job, spec=job.spec.model_copy(update={"output": output, "keep": None})))
    try:
        return translate_shard(translator, Shard("preview", "preview", 0, tuple(samples), last=True)).rows
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
    """All lines under each other, one column a head."""
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
