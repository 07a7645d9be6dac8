"""Labels that followed a resize, a crop or a turn come out of an export where the picture's pixels went, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import codec
from pipeline.labels import Annotation, Labels, Transform, parse_sample, rle
from pipeline.labels.categories import Categories
from pipeline.labels.outline import fill
from pipeline.output.export.formats import open_writer
from pipeline.output.export.shapes import mask_of
from pipeline.output.export.writers import ExportPlan, Picture

NAME = "Straße 道.png"
DECLARED = [{"id": 7, "name": "véhicule 車"}]
Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Move:
    """What happens to a picture: by the code, to a box by plain arithmetic, to pixels, and the way back if any."""

    transform: Transform
    box: Callable[[Box], Box]
    pixels: Callable[[np.ndarray], np.ndarray] | None = None
    back: Transform | None = None


def resized(size: Size, target: Size) -> Move:
    across, down = target[0] / size[0], target[1] / size[1]
    forth, back = Transform.resize(size, target), Transform.resize(target, size)
    return Move(forth, lambda box: (box[0] * across, box[1] * down, box[2] * across, box[3] * down), back=back)


def cropped(size: Size, left: int, top: int, right: int, bottom: int) -> Move:
    def cut(box: Box) -> Box:
        x0, y0 = max(box[0], left), max(box[1], top)
        x1, y1 = min(box[0] + box[2], right), min(box[1] + box[3], bottom)
        return x0 - left, y0 - top, x1 - x0, y1 - y0

    forth = Transform.crop(size, (left, top, right, bottom))
    return Move(forth, cut, lambda mask: mask[top:bottom, left:right])


def turned(size: Size, orientation: int) -> Move:
    width, height = size
    boxes: dict[int, Callable[[Box], Box]] = {
        2: lambda box: (width - box[0] - box[2], box[1], box[2], box[3]),
        3: lambda box: (width - box[0] - box[2], height - box[1] - box[3], box[2], box[3]),
        4: lambda box: (box[0], height - box[1] - box[3], box[2], box[3]),
        6: lambda box: (height - box[1] - box[3], box[0], box[3], box[2]),
    }
    forth = Transform.orientation(orientation, size)
    back = Transform.orientation(8 if orientation == 6 else orientation, forth.target)
    return Move(forth, boxes[orientation], lambda mask: codec.upright(mask, orientation), back)


@st.composite
def moves(draw: st.DrawFn, width: int, height: int) -> Move:
    kind = draw(st.sampled_from(["resize", "crop", "turn"]))
    if kind == "resize":
        return resized((width, height), (draw(st.integers(8, 150)), draw(st.integers(8, 150))))
    if kind == "turn":
        return turned((width, height), draw(st.sampled_from([2, 3, 4, 6])))
    left, top = draw(st.integers(0, width // 3)), draw(st.integers(0, height // 3))
    return cropped((width, height), left, top, width - draw(st.integers(0, 9)), height - draw(st.integers(0, 9)))


@st.composite
def shaped(draw: st.DrawFn, width: int, height: int) -> Annotation:
    """A plain box, four corners, or a mask with a stripe cut out, in the middle of the picture, some of them crowds."""
    # No edge runs through the middle of a pixel, where to which side it falls would depend on the direction.
    x, y = draw(st.integers(0, 3 * width)) / 8 + 1 / 16, draw(st.integers(0, 3 * height)) / 8 + 1 / 16
    w, h = draw(st.integers(3 * width, 4 * width)) / 8, draw(st.integers(3 * height, 4 * height)) / 8
    crowd, kind = draw(st.booleans()), draw(st.sampled_from(["box", "polygon", "mask"]))
    if kind == "box":
        return Annotation("véhicule 車", 7, bbox=(x, y, w, h), iscrowd=crowd)
    if kind == "polygon":
        slant = draw(st.integers(0, 8)) / 8
        corners = [x, y + slant, x + w - slant, y, x + w, y + h - slant, x + slant, y + h]
        return Annotation("véhicule 車", 7, bbox=(x, y, w, h), segmentation=[corners], iscrowd=crowd)
    mask = np.zeros((height, width), np.uint8)
    left, top, right, bottom = int(x), int(y), int(x + w), int(y + h)
    mask[top:bottom, left:right] = 1
    mask[top + 1 : bottom - 1, left + 1 : left + draw(st.integers(1, 3))] = 0
    return Annotation("véhicule 車", 7, (left, top, right - left, bottom - top), rle=rle.encode(mask), iscrowd=crowd)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Labels, Move]:
    width, height = draw(st.integers(32, 96)), draw(st.integers(32, 96))
    found = draw(st.lists(shaped(width, height), max_size=3))
    return Labels(width, height, found), draw(moves(width, height))


def written(format: str, labels: Labels, task: str = "auto") -> dict[str, bytes]:
    """Every label file of an export of one picture."""
    assert labels.width is not None
    assert labels.height is not None
    plan = ExportPlan("set", ("train",), Categories(DECLARED, [(7, "véhicule 車")]))
    writer = open_writer(format, plan, task)
    picture = Picture("train", NAME, "key", labels.width, labels.height, None, labels)
    files = dict(writer.add(picture, {}))
    return files | {path: data if isinstance(data, bytes) else data.read() for path, data in writer.finish()}


def through_coco(labels: Labels, size: Size) -> Iterator[Annotation]:
    for each in json.loads(written("coco", labels)["annotations/instances_train.json"])["annotations"]:
        shape = each.get("segmentation") or None
        x, y, w, h = each["bbox"]
        polygons, mask = (shape, None) if isinstance(shape, list) else (None, shape)
        yield Annotation("", bbox=(x, y, w, h), segmentation=polygons, rle=mask, iscrowd=bool(each["iscrowd"]))


def through_bdd100k(labels: Labels, size: Size) -> Iterator[Annotation]:
    (frame,) = json.loads(written("bdd100k", labels)["labels/train.json"])
    yield from parse_sample(json.dumps(frame)).annotations


def through_yolo(labels: Labels, size: Size) -> Iterator[Annotation]:
    """Boxes as a detection set has them, polygons as one of segments has them."""
    boxes, polygons = (_yolo_lines(written("yolo", labels, task)) for task in ("detect", "segment"))
    for (x, y, w, h), shares in zip(boxes, polygons, strict=True):
        box = ((x - w / 2) * size[0], (y - h / 2) * size[1], w * size[0], h * size[1])
        yield Annotation("", bbox=box, segmentation=[[share * size[at % 2] for at, share in enumerate(shares)]])


def _yolo_lines(files: dict[str, bytes]) -> list[list[float]]:
    lines = files["labels/train/Straße 道.txt"].decode().splitlines()
    return [[float(share) for share in line.split()[1:]] for line in lines]


FORMATS = {"coco": through_coco, "bdd100k": through_bdd100k, "yolo": through_yolo}


def far(one: Box, other: Box) -> float:
    """The greatest distance between the edges of two boxes."""
    edges = [np.array([x, y, x + w, y + h]) for x, y, w, h in (one, other)]
    return float(np.abs(edges[0] - edges[1]).max())


def pixels_of(found: Annotation, size: Size) -> np.ndarray | None:
    """Its mask; of an object that is a box in YOLO too, which has polygons only, none."""
    return fill(found.segmentation, size) if found.segmentation is not None else mask_of(found, *size)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=20, deadline=None)
@given(scene=scenes())
def test_boxes_and_masks_follow_their_picture_through_an_export(format: str, scene: tuple[Labels, Move]) -> None:
    labels, move = scene
    size, source = move.transform.target, move.transform.source
    moved = move.transform.apply(labels)
    again = list(FORMATS[format](moved, size))
    assert len(again) == len(labels.annotations)
    for found, each in zip(labels.annotations, again, strict=True):
        assert found.bbox is not None
        assert each.bbox is not None
        assert far(each.bbox, move.box(found.bbox)) <= 0.5
        assert format == "yolo" or each.iscrowd == found.iscrowd
        if move.back is not None:
            (home,) = move.back.apply(Labels(*size, [Annotation("", bbox=each.bbox)])).annotations
            assert home.bbox is not None
            assert far(home.bbox, found.bbox) <= 0.5
        before = pixels_of(found, source)
        if before is not None and move.pixels is not None:
            after, expected = pixels_of(each, size), move.pixels(before)
            assert after is not None
            assert (after & expected).sum() >= 0.99 * (after | expected).sum()
