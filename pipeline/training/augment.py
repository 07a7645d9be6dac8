"""Random changes of training samples: geometry for everything that belongs to a picture, colour for its pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from methods.base import Inputs
from methods.errors import BadSample
from methods.nn.resample import resample
from pipeline import codec

Box = tuple[str, tuple[float, float, float, float]]
"""Class, and left, top, width and height in pixels."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class AugmentSpec(BaseModel):
    """How training samples are varied before the objective's own crop; held-out samples stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    flip: bool = False
    """Mirror half of the samples from left to right."""
    crop: Annotated[int, Field(ge=8)] | None = None
    """Side in pixels of a random square of each sample; ``null`` for whole pictures."""
    scale: Annotated[float, Field(ge=1, le=8)] = 1.0
    """Scale jitter: what is shown is enlarged by a random factor of 1 to this, at a random place, at the same size."""
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Colour jitter: brightness, contrast and saturation change by up to this share, alike for picture and target."""

    @property
    def any(self) -> bool:
        """Whether anything is changed."""
        return self != AugmentSpec()


def augmented(inputs: Inputs, spec: AugmentSpec, rng: np.random.Generator) -> Inputs:
    """The sample, varied: its picture, its target, its boxes, and every map among its columns at the same place.

    Maps (label maps, depth: any array but ``target``) are resampled by the nearest pixel, so that they keep their
    values; one of another size than the picture is cut in proportion, and keeps its own scale. Boxes are cut at the
    edges; those that are wholly outside are gone.

    Raises:
        BadSample: a picture smaller than the crop.
    """
    if inputs.image is None:
        return inputs
    height, width = inputs.image.shape[:2]
    side = spec.crop
    if side is not None and min(height, width) < side:
        raise BadSample("too_small", f"{width}x{height} pixels, fewer than augment.crop {side}")
    out_height, out_width = (height, width) if side is None else (side, side)
    factor = rng.uniform(1.0, spec.scale) if spec.scale > 1 else 1.0
    window_height, window_width = out_height / factor, out_width / factor
    # places in shares of the picture, so that maps of another size are cut at the same place
    top = rng.uniform(0, height - window_height) / height if side is not None or factor > 1 else 0.0
    left = rng.uniform(0, width - window_width) / width if side is not None or factor > 1 else 0.0
    box = (left, top, left + window_width / width, top + window_height / height)
    mirrored = spec.flip and rng.random() < 0.5
    factors = 1 + spec.colour * rng.uniform(-1, 1, 3)

    def moved(array: np.ndarray, *, picture: bool) -> np.ndarray:
        found = _cut(array, box, (height, width), (out_height, out_width), picture=picture)
        return np.ascontiguousarray(found[:, ::-1]) if mirrored else found

    columns = dict(inputs.columns)
    for name, value in columns.items():
        if isinstance(value, np.ndarray) and value.ndim in (2, 3):
            columns[name] = moved(value, picture=name == "target")
    if isinstance(columns.get("boxes"), list):
        edges = _edges(box, (height, width))
        columns["boxes"] = _moved_boxes(columns["boxes"], edges, (out_height, out_width), mirrored=mirrored)
    image = moved(inputs.image, picture=True)
    if spec.colour:
        image = _coloured(image, factors)
        if isinstance(columns.get("target"), np.ndarray):
            columns["target"] = _coloured(columns["target"], factors)
    return replace(inputs, image=image, columns=columns)


def _cut(
    array: np.ndarray,
    box: tuple[float, float, float, float],
    whole: tuple[int, int],
    size: tuple[int, int],
    *,
    picture: bool,
) -> np.ndarray:
    """The part ``box`` (shares: left, top, right, bottom), at ``size`` times this array's own scale to the picture."""
    height, width = array.shape[:2]
    left, top, right, bottom = _edges(box, (height, width))
    part = array[top:bottom, left:right]
    wanted = (max(1, round(size[0] * height / whole[0])), max(1, round(size[1] * width / whole[1])))
    if part.shape[:2] == wanted:
        return part
    if picture and array.dtype == np.uint8 and array.ndim == 3:
        return resample(part, (wanted[1], wanted[0]), "bicubic")
    return codec.resize(part, (wanted[1], wanted[0]), "nearest")


def _edges(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in whole pixels of an array of ``size`` (height, width); never empty."""
    height, width = size
    left, top = round(box[0] * width), round(box[1] * height)
    return (
        left,
        top,
        max(left + 1, min(width, round(box[2] * width))),
        max(top + 1, min(height, round(box[3] * height))),
    )


def _moved_boxes(
    boxes: list[Box], edges: tuple[int, int, int, int], size: tuple[int, int], *, mirrored: bool
) -> list[Box]:
    left, top, right, bottom = edges
    across, down = size[1] / (right - left), size[0] / (bottom - top)
    found: list[Box] = []
    for category, (x, y, w, h) in boxes:
        first, last = max(x, left), min(x + w, right)
        above, below = max(y, top), min(y + h, bottom)
        if last <= first or below <= above:
            continue
        start = (right - last if mirrored else first - left) * across
        found.append((category, (start, (above - top) * down, (last - first) * across, (below - above) * down)))
    return found


def _coloured(pixels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with its brightness, contrast and saturation multiplied by ``factors``."""
    brightness, contrast, saturation = (float(factor) for factor in factors)
    values = pixels.astype(np.float32) * brightness
    grey = values @ _LUMA
    values = (values - grey.mean()) * contrast + grey.mean()
    grey = (values @ _LUMA)[..., None]
    return np.clip(np.rint((values - grey) * saturation + grey), 0, 255).astype(np.uint8)
