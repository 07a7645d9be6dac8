"""A look before a job: its first few samples translated in this process, side by side in one PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
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

    The job's output and its lock are left alone. Samples that would be rejected or filtered are shown and said to be.

    Returns:
        ``out``.

    Raises:
        InputError: the spec cannot work, or the PNG cannot be written.
    """
    if not 1 <= count <= _MOST:
        raise InputError(f"a preview shows 1 to {_MOST} samples, not {count}")
    job = prepare(spec)
    keep = KeepExpression.parse(spec.keep, job.metric_columns) if spec.keep else None
    samples = tuple(islice(_samples(job, count), count))
    rows = _translate(job, samples)
    lines = [_line(row, samples[number // spec.variants], job, keep) for number, row in enumerate(rows)]
    heads = ("source", "output", "true target") if job.layout.target else ("source", "output")
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


def _line(row: Row, sample: Sample, job: Job, keep: KeepExpression | None) -> _Line:
    source = row.source_image if row.source_image is not None else sample.image
    pictures = [_picture(source), _picture(row.image)]
    if job.layout.target:
        pictures.append(_picture(row.masks.get(job.layout.target)))
    name = row.key + (f", variant {row.variant}" if job.spec.variants > 1 else "")
    if row.rejection is not None:
        return _Line(tuple(pictures), f"{name}\nrejected, {row.rejection.error}: {row.rejection.message}")
    values = ", ".join(f"{column} {value:.4g}" for column, value in row.metrics.items() if value == value)
    if keep is not None and not keep.keeps(row.metrics):
        values += f"\nfiltered, not kept by: {keep.text}"
    return _Line(tuple(pictures), f"{name}\n{values}")


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
