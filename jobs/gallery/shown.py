"""What a finished job of the gallery has to show: its first samples, read back from its output."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from PIL import Image

from methods.errors import InputError
from methods.piti.conditions.label_maps import palette
from pipeline.paths import MERGED_INDEX


@dataclass(frozen=True)
class ShownSample:
    """One translated sample.

    Attributes:
        key, caption: of the sample.
        source, output: encoded pictures.
        truth: the true picture, where the source has one.
        metrics: value by name, of this sample.
    """

    key: str
    caption: str | None
    source: bytes
    output: bytes
    truth: bytes | None
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_shown(output: Path, count: int, truth: str | None = None, *, label_maps: bool = False) -> list[ShownSample]:
    """The first ``count`` translated samples of an output with ``pairs: true``, by key.

    Args:
        output: its folder.
        count: how many.
        truth: the column of its data that holds the true picture, where there is one.
        label_maps: its sources are maps of class ids, which are shown in colours.

    Raises:
        InputError: no output of that kind there, or not one sample in it that was translated.
    """
    index = output / MERGED_INDEX
    if not index.is_file():
        raise InputError(f"{output}: no finished output here (index.parquet is missing)")
    rows = ds.dataset(index).to_table(filter=ds.field("status") == "ok", use_threads=False).to_pylist()
    pictures = {row["key"]: row for row in _data(output, truth)}
    found = [
        _shown(row, pictures[row["key"]], truth, label_maps) for row in sorted(rows, key=lambda row: row["key"])[:count]
    ]
    if not found:
        raise InputError(f"{output}: not one sample was translated, see status and message in {index}")
    return found


def _data(output: Path, truth: str | None) -> list[dict[str, Any]]:
    data = ds.dataset(output / "data", format="parquet")
    if "source_image" not in data.schema.names:
        raise InputError(f"{output}: holds no sources beside its pictures, set output.pairs: true")
    columns = [name for name in data.schema.names if name in ("key", "source_image", "image", truth)]
    return data.to_table(columns=columns, use_threads=False).to_pylist()


def _shown(row: Mapping[str, Any], pictures: Mapping[str, Any], truth: str | None, label_map: bool) -> ShownSample:
    metrics = {
        name.removeprefix("metric."): float(value)
        for name, value in row.items()
        if name.startswith("metric.") and value is not None
    }
    true_picture = pictures.get(truth) if truth else None
    source = coloured(pictures["source_image"]) if label_map else pictures["source_image"]
    return ShownSample(row["key"], row.get("caption"), source, pictures["image"], true_picture, metrics)


def coloured(encoded: bytes) -> bytes:
    """A picture of class ids (one channel), each id in a colour of its own, as a PNG."""
    with Image.open(io.BytesIO(encoded)) as picture:
        ids = np.asarray(picture)
    made = io.BytesIO()
    Image.fromarray(palette()[ids]).save(made, "PNG")
    return made.getvalue()
