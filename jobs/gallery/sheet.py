"""The contact sheet: one row per job, small enough to stand in a README."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from jobs.gallery.exhibit import Exhibit

LARGEST = 400_000
"""Bytes of the sheet at most."""
_CELL, _GAP, _HEAD = 160, 6, 22
_SHOWN = 3
_INK, _PAPER = (24, 27, 31), (255, 255, 255)
_QUALITIES = (90, 85, 80, 70, 60, 50, 40)


def write_sheet(path: Path, exhibits: Sequence[Exhibit]) -> Path:
    """Write source and output of the first samples of each job as one JPEG of at most :data:`LARGEST` bytes.

    Raises:
        ValueError: even the coarsest JPEG is larger: too many jobs for one sheet.
    """
    picture = sheet(exhibits)
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=quality, optimize=True)
        if encoded.tell() <= LARGEST:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded.getvalue())
            return path
    raise ValueError(f"the sheet of {len(exhibits)} jobs takes more than {LARGEST} bytes")


def sheet(exhibits: Sequence[Exhibit]) -> Image.Image:
    """One row per job: its name, then pairs of source and output."""
    font = ImageFont.load_default(13)
    width = _GAP + _SHOWN * (2 * _CELL + 2 * _GAP)
    row = _HEAD + _CELL + _GAP
    paper = Image.new("RGB", (width, len(exhibits) * row + _GAP), _PAPER)
    draw = ImageDraw.Draw(paper)
    for number, exhibit in enumerate(exhibits):
        top = _GAP + number * row
        draw.text((_GAP, top), f"{exhibit.method}: {exhibit.name}", _INK, font=font)
        for column, sample in enumerate(exhibit.samples[:_SHOWN]):
            left = _GAP + column * (2 * _CELL + 2 * _GAP)
            for place, encoded in enumerate((sample.source, sample.output)):
                paper.paste(_cell(encoded), (left + place * (_CELL + 2), top + _HEAD))
    return paper


def _cell(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as picture:
        colour = picture.convert("RGB")
    colour.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    if max(colour.size) < _CELL:
        scale = _CELL / max(colour.size)
        size = (round(colour.width * scale), round(colour.height * scale))
        colour = colour.resize(size, Image.Resampling.BICUBIC)
    return colour
