"""What a format is given comes back out of it: boxes within half a pixel, masks the same pixels, classes by number.

Each format is read here by a few lines of its own, written from the format's description.
"""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.labels import Annotation, Labels, parse_sample, rle
from pipeline.labels.categories import Categories
from pipeline.labels.outline import fill
from pipeline.output.export.cityscapes import CLASSES
from pipeline.output.export.formats import open_writer
from pipeline.output.export.shapes import mask_of
from pipeline.output.export.writers import ExportPlan, Picture

DECLARED = [
    {"id": 2, "name": "car"},
    {"id": 5, "name": "twin"},
    {"id": 9, "name": "twin"},
    {"id": 30, "name": "Straße 道"},
]
Box = tuple[float, float, float, float]


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> Box:
    """At least a pixel, inside the picture, with fractions."""
    w, h = draw(st.floats(1, width)), draw(st.floats(1, height))
    return draw(st.floats(0, 1)) * (width - w), draw(st.floats(0, 1)) * (height - h), w, h


@st.composite
def objects_in(draw: st.DrawFn, width: int, height: int, kinds: tuple[str, ...]) -> Annotation:
    category = draw(st.sampled_from(DECLARED))
    kind = draw(st.sampled_from(kinds))
    name, number, crowd = str(category["name"]), int(category["id"]), draw(st.booleans())
    if kind == "box":
        return Annotation(name, number, bbox=draw(boxes(width, height)), iscrowd=crowd, id="1")
    x, y, w, h = draw(boxes(width, height))
    if kind == "polygon":
        corners = [x, y, x + w, y, x + w / 2, y + h]
        return Annotation(name, number, bbox=(x, y, w, h), segmentation=[corners], iscrowd=crowd, id="1")
    mask = np.zeros((height, width), np.uint8)
    mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
    mask[draw(st.integers(0, height - 1)), :] ^= draw(st.integers(0, 1))
    mask[:, draw(st.integers(0, width - 1))] = 0
    return (
        Annotation(name, number, rle=rle.encode(mask), iscrowd=crowd, id="1")
        if mask.any()
        else Annotation(name, number, bbox=(x, y, w, h), iscrowd=crowd, id="1")
    )


@st.composite
def pictures(draw: st.DrawFn, *kinds: str) -> list[Picture]:
    """Up to three pictures of different sizes, some without an object."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        width, height = draw(st.integers(4, 90)), draw(st.integers(4, 90))
        found = draw(st.lists(objects_in(width, height, kinds or ("box", "polygon", "mask")), max_size=4))
        name = f"b_{number}_ö.png"
        made.append(Picture("train", name, f"b_{number}_ö", width, height, None, Labels(width, height, found)))
    return made


def written(format: str, pictures: list[Picture], task: str = "auto") -> dict[str, bytes]:
    """Every label file of an export."""
    found = [(each.category_id, each.category) for picture in pictures for each in picture.labels.annotations]
    plan = ExportPlan("set", ("train",), Categories(DECLARED, found), masked=task == "segment")
    writer = open_writer(format, plan, task)
    files = {path: data for picture in pictures for path, data in writer.add(picture, {})}
    files |= {path: data if isinstance(data, bytes) else data.read() for path, data in writer.finish()}
    return files


def box_of(found: Annotation, size: tuple[int, int]) -> Box:
    """The annotation's box, or that of its mask."""
    if found.bbox is not None:
        return found.bbox
    mask = mask_of(found, *size)
    assert mask is not None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]


def far(one: Box | list[float], other: Box | list[float]) -> float:
    """The greatest distance between the edges of two boxes."""
    edges = [np.array([x, y, x + w, y + h]) for x, y, w, h in (one, other)]
    return float(np.abs(edges[0] - edges[1]).max())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max(1, (one | other).sum())


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_coco(made: list[Picture]) -> None:
    document = json.loads(written("coco", made)["annotations/instances_train.json"])
    assert document["categories"] == DECLARED
    for picture, image in zip(made, document["images"], strict=True):
        assert (image["file_name"], image["width"], image["height"]) == (picture.name, picture.width, picture.height)
        mine = [each for each in document["annotations"] if each["image_id"] == image["id"]]
        for found, each in zip(picture.labels.annotations, mine, strict=True):
            size = (picture.width, picture.height)
            assert far(box_of(found, size), each["bbox"]) < 1e-6
            assert (each["category_id"], each["iscrowd"]) == (found.category_id, int(found.iscrowd))
            if found.rle is not None:
                assert each["segmentation"] == found.rle


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_bdd100k(made: list[Picture]) -> None:
    frames = json.loads(written("bdd100k", made)["labels/train.json"])
    for picture, frame in zip(made, frames, strict=True):
        again = parse_sample(json.dumps(frame))
        assert (frame["name"], again.width, again.height) == (picture.name, picture.width, picture.height)
        for found, each in zip(picture.labels.annotations, again.annotations, strict=True):
            assert (each.category, each.rle, each.segmentation) == (found.category, found.rle, found.segmentation)
            assert each.iscrowd == found.iscrowd
            assert (found.bbox is None) == (each.bbox is None)
            assert found.bbox is None or each.bbox is None or far(found.bbox, each.bbox) < 1e-6


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_yolo_boxes(made: list[Picture]) -> None:
    files = written("yolo", made, "detect")
    assert yaml.safe_load(files["data.yaml"])["names"] == {n: each["name"] for n, each in enumerate(DECLARED)}
    for picture in made:
        lines = files[f"labels/train/{picture.stem}.txt"].decode().splitlines()
        for found, line in zip(picture.labels.annotations, lines, strict=True):
            number, *shares = line.split()
            x, y, w, h = (float(share) for share in shares)
            sides = (picture.width, picture.height)
            box = ((x - w / 2) * sides[0], (y - h / 2) * sides[1], w * sides[0], h * sides[1])
            assert far(box, box_of(found, sides)) < 0.01
            assert DECLARED[int(number)]["id"] == found.category_id


@settings(max_examples=60, deadline=None)
@given(pictures("polygon", "mask"))
def test_yolo_polygons(made: list[Picture]) -> None:
    files = written("yolo", made, "segment")
    for picture in made:
        lines = files[f"labels/train/{picture.stem}.txt"].decode().splitlines()
        for found, line in zip(picture.labels.annotations, lines, strict=True):
            shares = [float(share) for share in line.split()[1:]]
            polygon = [share * (picture.height if n % 2 else picture.width) for n, share in enumerate(shares)]
            if found.segmentation is not None:
                assert np.abs(np.array(polygon) - np.array(found.segmentation[0])).max() < 0.01
            elif found.rle is not None:
                again = fill([polygon], (picture.width, picture.height))
                assert iou(again, rle.decode(found.rle).astype(bool)) >= 0.99


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_voc(made: list[Picture]) -> None:
    files = written("voc", made)
    for picture in made:
        root = ElementTree.fromstring(files[f"Annotations/{picture.stem}.xml"])
        assert root.findtext("filename") == picture.name
        for found, each in zip(picture.labels.annotations, root.iter("object"), strict=True):
            left, top, right, bottom = (int(side.text or "") for side in each.find("bndbox") or [])
            box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
            assert far(box, box_of(found, (picture.width, picture.height))) <= 0.5 + 1e-9
            assert each.findtext("name") == found.category
        drawn = files.get(f"SegmentationObject/{picture.stem}.png")
        shaped = [(n, mask) for n, mask in enumerate(_masks(picture), start=1) if mask is not None]
        assert (drawn is None) == (not shaped)
        if drawn is not None:
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawn))), _numbered(picture, shaped))


@settings(max_examples=60, deadline=None)
@given(pictures("polygon", "mask"))
def test_cityscapes(made: list[Picture]) -> None:
    files = written("cityscapes", made)
    for picture in made:
        stem = next(path for path in files if path.endswith(f"{picture.stem}_gtFine_polygons.json"))
        tree = json.loads(files[stem])
        found = [
            each for each, mask in zip(picture.labels.annotations, _masks(picture), strict=True) if mask is not None
        ]
        assert [each["label"] for each in tree["objects"]] == [each.category + "group" * each.iscrowd for each in found]
        for each, drawn in zip(found, tree["objects"], strict=True):
            if each.rle is not None:
                polygon = [value for point in drawn["polygon"] for value in point]
                again = fill([polygon], (picture.width, picture.height))
                assert iou(again, rle.decode(each.rle).astype(bool)) >= 0.99
        numbers = np.asarray(Image.open(io.BytesIO(files[stem.replace("polygons.json", "labelIds.png")])))
        cars = np.zeros((picture.height, picture.width), bool)
        for each, mask in zip(picture.labels.annotations, _masks(picture), strict=True):
            if mask is not None and each.category in CLASSES:
                cars |= mask
        assert np.array_equal(numbers == CLASSES["car"][0], cars)


@settings(max_examples=40, deadline=None)
@given(pictures())
def test_hugging_face(made: list[Picture]) -> None:
    rows = pq.read_table(io.BytesIO(written("hf", made)["train/metadata.parquet"])).to_pylist()
    for picture, row in zip(made, rows, strict=True):
        assert row["file_name"] == picture.name
        for found, each in zip(picture.labels.annotations, row["objects"], strict=True):
            assert far(each["bbox"], box_of(found, (picture.width, picture.height))) < 1e-6
            # Two classes share a name, so it stands as text.
            assert (each["category"], each["category_id"]) == (found.category, found.category_id)
            assert each["rle"] is None or json.loads(each["rle"]) == found.rle


def _masks(picture: Picture) -> list[np.ndarray | None]:
    return [mask_of(each, picture.width, picture.height) for each in picture.labels.annotations]


def _numbered(picture: Picture, shaped: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """What a map of objects shows: later ones over earlier ones, crowds as 255."""
    numbers = np.zeros((picture.height, picture.width), int)
    for number, mask in shaped:
        numbers[mask] = 255 if picture.labels.annotations[number - 1].iscrowd else number
    return numbers
