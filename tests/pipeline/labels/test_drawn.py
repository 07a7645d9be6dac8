"""Annotations that label formats draw in pictures: BDD100K's bitmasks and the masks of Open Images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from methods.errors import BadSample
from pipeline.labels import Labels, TableSource, open_table, parse_record, rle
from pipeline.labels.bitmask import INSTANCES, read_bitmask
from pipeline.labels.formats import with_drawn
from tests.support.datasets import encoded
from tests.support.label_files import write_files

SIZE = (12, 8)


def rgba(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8), "RGBA").save(out, "PNG")
    return out.getvalue()


def bitmask() -> np.ndarray:
    """A car with the number 300, truncated; a crowd of pedestrians with the number 2, occluded and ignored."""
    pixels = np.zeros((8, 12, 4), np.uint8)
    pixels[1:4, 2:7] = (3, 0b1000, 300 >> 8, 300 & 255)
    pixels[5:8, 10:12] = (1, 0b0111, 0, 2)
    return pixels


def found(folder: Path, name: str, size: tuple[int, int] = SIZE) -> tuple[Labels, tuple[str, ...]]:
    """(labels, mask members) of a picture, read as a worker does."""
    table = open_table(TableSource(str(folder)))
    record = table.find(name)
    assert record is not None
    maps = {each: Path(uri).read_bytes() for each, uri in record.masks.items()}
    drawn = {each: data for each, data in maps.items() if each not in table.info.masks}
    labels = with_drawn(parse_record(record.text, size, table.info), drawn, size, table.info)
    return labels, tuple(sorted(maps.keys() - drawn.keys()))


def objects(labels: Labels) -> list[tuple[Any, ...]]:
    return [(a.category, a.category_id, a.id, a.bbox, a.area, a.iscrowd, a.attributes) for a in labels.annotations]


EXPECTED = [
    ("pedestrian", 1, "2", (10, 5, 2, 3), 6, True, {"truncated": False, "occluded": True, "ignored": True}),
    ("car", 3, "300", (2, 1, 5, 3), 15, False, {"truncated": True, "occluded": False, "ignored": False}),
]


def test_a_bitmask_holds_the_objects_of_its_picture(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "ins_seg/bitmasks/train/a.png": rgba(bitmask()),
            "sem_seg/masks/train/a.png": encoded(bitmask()[..., 0], "PNG"),
        },
    )
    labels, masks = found(tmp_path, "images/100k/train/a")
    assert objects(labels) == EXPECTED
    assert (labels.width, labels.height, masks) == (*SIZE, ("sem_seg.png",))
    one, two = labels.annotations
    assert one.rle is not None
    assert two.rle is not None
    assert rle.decode(two.rle).tolist() == (bitmask()[..., 0] == 3).tolist()


def test_frames_and_bitmasks_are_put_together(tmp_path: Path) -> None:
    """A file with boxes of the same pictures adds them; one with masks has drawn them already."""
    box = {"id": "9", "category": "traffic sign", "box2d": {"x1": 1, "y1": 1, "x2": 3, "y2": 3}}
    frame = {"name": "a.jpg", "attributes": {"scene": "street"}, "labels": [box]}
    write_files(tmp_path, {"det_20/det_train.json": [frame], "ins_seg/bitmasks/train/a.png": rgba(bitmask())})
    labels, _ = found(tmp_path, "train/a")
    assert [each.category for each in labels.annotations] == ["traffic sign", "pedestrian", "car"]
    assert labels.attributes == {"scene": "street"}
    drawn = {"id": "1", "category": "car", "rle": rle.encode(bitmask()[..., 0] == 3)}
    write_files(tmp_path, {"ins_seg/rles/ins_seg_train.json": {"frames": [{"name": "a.jpg", "labels": [drawn]}]}})
    labels, _ = found(tmp_path, "train/a")
    assert [each.category for each in labels.annotations] == ["traffic sign", "car"]


def test_panoptic_bitmasks_have_their_own_categories(tmp_path: Path) -> None:
    pixels = bitmask()
    pixels[..., 0] = np.where(pixels[..., 0] > 0, 35, 7)
    write_files(tmp_path, {"pan_seg/bitmasks/val/a.png": rgba(pixels)})
    labels, _ = found(tmp_path, "a")
    assert {each.category for each in labels.annotations} == {"road", "car"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (rgba(np.zeros((4, 4, 4))), "4x4 pixels, its picture 12x8"),
        (encoded(np.zeros((8, 12, 3), np.uint8), "PNG"), "four channels"),
        (b"x", "not a JPEG"),
    ],
)
def test_a_bitmask_that_cannot_be_read_refuses_its_picture(tmp_path: Path, data: bytes, says: str) -> None:
    write_files(tmp_path, {"bitmasks/a.png": data})
    with pytest.raises(BadSample, match=says) as caught:
        found(tmp_path, "a")
    assert caught.value.reason == "bad_labels"


@given(arrays(np.uint8, (5, 6, 4), elements=st.integers(0, 3)))
def test_every_pixel_is_of_the_object_that_it_says(pixels: np.ndarray) -> None:
    again = np.zeros_like(pixels)
    for each in read_bitmask(rgba(pixels), (6, 5), INSTANCES):
        assert each.rle is not None
        assert each.category_id is not None
        flags = sum(bit for name, bit in (("truncated", 8), ("occluded", 4), ("ignored", 1)) if each.attributes[name])
        mask = rle.decode(each.rle) == 1
        assert each.area == mask.sum()
        again[mask] = (each.category_id, flags + 2 * each.iscrowd, int(each.id or 0) >> 8, int(each.id or 0) & 255)
    expected = np.where(pixels[..., :1] > 0, pixels, 0)
    assert again.tolist() == expected.tolist()


HEAD = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"


def test_masks_of_open_images(tmp_path: Path) -> None:
    """A mask of another size than its picture's, one that joins its box of the box file, one that is not there."""
    small = np.zeros((4, 6), np.uint8)
    small[1:3, 2:4] = 255
    rows = "a_m01_1.png,a,/m/01,1,0.25,0.75,0.25,0.75,0.9,\na_m02_2.png,a,/m/02,2,0,0.5,0,0.5,0.8,\n"
    boxes = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\na,x,/m/01,1,0.25,0.75,0.25,0.75,0\n"
    write_files(
        tmp_path,
        {
            "train-annotations-bbox.csv": boxes,
            "train-annotations-object-segmentation.csv": HEAD + rows,
            "class-descriptions-boxable.csv": "/m/01,Car\n/m/02,Tree\n",
            "train-masks-a/a_m01_1.png": encoded(small, "PNG"),
        },
    )
    labels, masks = found(tmp_path, "a")
    car, tree = labels.annotations
    assert (car.category, car.bbox, tree.category, tree.bbox, tree.rle, masks) == (
        "Car",
        (3, 2, 6, 4),
        "Tree",
        (0, 0, 6, 4),
        None,
        (),
    )
    assert car.rle is not None
    assert rle.decode(car.rle).tolist() == (np.kron(small, np.ones((2, 2))) > 0).astype(int).tolist()
    assert (car.attributes["Source"], car.attributes["BoxID"]) == ("x", "1")
    assert labels.problems == ("the mask a_m02_2.png is not there",)
    (note,) = open_table(TableSource(str(tmp_path))).info.notes
    assert "1 mask is not there (a_m02_2.png)" in note
