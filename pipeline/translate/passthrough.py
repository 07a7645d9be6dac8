"""What travels with a picture: labels, masks, the true target and the source picture follow its geometry."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.labels import Labels, LabelTable, Transform, align, load_bdd100k, load_coco, parse_sample
from pipeline.labels.arrow import to_arrow_value
from pipeline.records import Sample
from pipeline.spec import ImageSpec, LabelsSpec
from pipeline.storage import StorageOptions, Store, redact

Window = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the upright picture."""


def load_table(spec: LabelsSpec, storage: StorageOptions) -> LabelTable | None:
    """The dataset's label file, if the spec names one. Raises InputError for one that cannot be read."""
    if spec.uri is None:
        return None
    data = Store(spec.uri, storage).read("")
    order = {"coco": [load_coco], "bdd100k": [load_bdd100k], "auto": [load_coco, load_bdd100k]}[spec.format]
    for position, load in enumerate(order):
        try:
            return load(data, redact(spec.uri))
        except InputError:
            if position + 1 == len(order):
                raise
    return None


def parse_labels(
    sample: Sample, table: LabelTable | None, format: Literal["auto", "coco", "bdd100k"], decoded: codec.Decoded
) -> Labels | None:
    """The sample's labels in upright coordinates, or ``None``.

    A JSON that nobody declared to be labels (format ``auto``) and that is none is left alone: it stays in
    ``labels_raw``. Raises BadSample for declared labels that cannot be read.
    """
    labels: Labels | None = None
    if table is not None:
        labels = table.find(sample.key, posixpath.basename(sample.source_uri))
    elif sample.labels_raw is not None:
        try:
            labels = parse_sample(sample.labels_raw, format)
        except BadSample:
            if format != "auto":
                raise
    return None if labels is None else align(labels, decoded.orientation, decoded.raw_size)


def move_labels(labels: Labels | None, decoded: codec.Decoded, size: tuple[int, int]) -> Mapping[str, Any] | None:
    """Upright labels as they fit an output of ``size`` = (width, height), ready for Arrow."""
    if labels is None:
        return None
    return to_arrow_value(Transform.resize(_upright(decoded), size).apply(labels))


def carry_picture(
    data: bytes,
    decoded: codec.Decoded,
    window: Window | None,
    size: tuple[int, int],
    filter: Literal["nearest", "lanczos"],
) -> bytes:
    """A picture that belongs to the sample, cut and resized along. The very same bytes where nothing has to change.

    Args:
        decoded: the sample's picture, already cut to ``window``.
    """
    if window is None and _upright(decoded) == size:
        return data
    pixels = codec.decode_mask(data) if filter == "nearest" else codec.decode(data).pixels
    if window is not None:
        pixels = cut_to(pixels, window, _whole(decoded))
    if filter == "nearest":
        return codec.encode_mask(codec.resize(pixels, size, "nearest"))
    return codec.encode(codec.resize(pixels, size), "png")


def cut_to(pixels: np.ndarray, window: Window, upright: tuple[int, int]) -> np.ndarray:
    """The part of an (H, W, ...) array inside a window given in pixels of an ``upright`` = (width, height) picture."""
    across, down = pixels.shape[1] / upright[0], pixels.shape[0] / upright[1]
    left, top, right, bottom = window
    return pixels[round(top * down) : round(bottom * down), round(left * across) : round(right * across)]


def carry_source(
    data: bytes, decoded: codec.Decoded, window: Window | None, size: tuple[int, int], image: ImageSpec
) -> bytes:
    """The source picture beside its translation: same part, same size, upright; untouched where it already is."""
    if window is None and _upright(decoded) == size and decoded.orientation == 1:
        return data
    return codec.encode(codec.resize(decoded.pixels, size), image.format, image.quality)


def _whole(decoded: codec.Decoded) -> tuple[int, int]:
    """(width, height) of the upright picture before it was cut."""
    width, height = decoded.raw_size
    return (height, width) if decoded.orientation >= 5 else (width, height)


def _upright(decoded: codec.Decoded) -> tuple[int, int]:
    return decoded.pixels.shape[1], decoded.pixels.shape[0]
