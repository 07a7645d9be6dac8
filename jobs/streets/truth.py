"""Exact truth of a frame: classes, instances, depth, edges, and what stands where."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.frame import Frame
from jobs.streets.instances import Instance
from jobs.streets.lens import average
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array

MINIMUM_AREA = 20.0
"""Things with less than this many visible pixels get no box."""
OCCLUDED_BELOW = 0.8
"""A thing is called occluded when less than this share of it is visible."""
FARTHEST = 655.35
"""Depth in metres that 16 bits of centimetres can hold."""


@dataclass(frozen=True)
class Thing:
    """A visible instance: box x1, y1, x2, y2 in pixels, visible ``area`` in pixels, ``visibility`` in (0, 1]."""

    instance: Instance
    box: tuple[float, float, float, float]
    area: float
    visibility: float
    truncated: bool

    @property
    def occluded(self) -> bool:
        """True when something hides a good part of it."""
        return self.visibility < OCCLUDED_BELOW


@dataclass(frozen=True)
class Truth:
    """Per pixel: ``label`` uint8 train ids, ``instance`` uint16 (0 none), ``depth`` float32 metres (0 sky),

    ``edges`` uint8 (255 paper, 0 line); all (height, width). ``things`` are the boxes, in instance order.
    """

    label: Array
    instance: Array
    depth: Array
    edges: Array
    things: tuple[Thing, ...]


def truth_of(frame: Frame) -> Truth:
    """Truth of a frame; per-pixel maps take the sample at the pixel's middle, boxes and areas use all samples."""
    view, samples = frame.view, frame.supersampling
    shape = view.raster.primitive.shape
    label = np.full(shape, int(Label.SKY), np.uint8)
    label[view.pixels] = view.material.label
    instance = np.zeros(shape, np.uint16)
    primitive = view.raster.primitive[view.pixels]
    instance[view.pixels] = frame.scene.geometry.instance[primitive]
    hit = view.raster.primitive >= 0
    depth = np.where(hit, view.raster.depth, 0)
    middle = slice(samples // 2, None, samples)
    return Truth(
        label=label[middle, middle],
        instance=instance[middle, middle],
        depth=np.minimum(depth[middle, middle], np.float32(FARTHEST)).astype(np.float32),
        edges=_edges(frame, label, instance, depth),
        things=_things(frame, instance),
    )


def _things(frame: Frame, instance: Array) -> tuple[Thing, ...]:
    samples = frame.supersampling
    things = []
    rows, columns = np.nonzero(instance)
    owner = instance[rows, columns]
    for known in frame.scene.instances:
        mine = owner == known.number
        count = int(mine.sum())
        if count < MINIMUM_AREA * samples**2:
            continue
        x, y = columns[mine], rows[mine]
        x1, y1, x2, y2 = x.min() / samples, y.min() / samples, (x.max() + 1) / samples, (y.max() + 1) / samples
        things.append(
            Thing(
                instance=known,
                box=(float(x1), float(y1), float(x2), float(y2)),
                area=count / samples**2,
                visibility=count / max(frame.view.raster.whole.get(known.number, 0), count),
                truncated=bool(x1 <= 0 or y1 <= 0 or x2 >= frame.width or y2 >= frame.height),
            )
        )
    return tuple(things)


def _edges(frame: Frame, label: Array, instance: Array, depth: Array) -> Array:
    """A line drawing: steps of depth, normal, class, instance and strong paint."""
    view, shape = frame.view, label.shape
    normal, albedo = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    normal[view.pixels], albedo[view.pixels] = view.normal, view.material.albedo
    distance = np.log(np.where(depth > 0, depth, 400))
    plain = label != Label.VEGETATION
    lines = np.zeros(shape, bool)
    for axis in (0, 1):
        step = _steps(axis)
        lines |= (np.abs(step(distance)) > 0.25) | (step(instance.astype(np.int32)) != 0)
        lines |= step(label.astype(np.int32)) != 0
        lines |= plain & (np.abs(step(normal)).sum(-1) > 0.9)
        lines |= plain & (np.abs(step(albedo)).sum(-1) > 0.45)
    ink = np.clip(average(lines[..., None].astype(np.float32), frame.supersampling)[..., 0] * 2, 0, 1)
    return (255 - 255 * ink).astype(np.uint8)


def _steps(axis: int):
    """Differences to the neighbour before, along an axis; the first row or column is 0."""

    def step(field: Array) -> Array:
        return np.diff(field, axis=axis, prepend=field.take([0], axis))

    return step
