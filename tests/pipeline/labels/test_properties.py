"""What holds for every format: a box comes out as it was written, and lands where the picture's pixels land."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import codec
from pipeline.labels import Labels, LabelTable, Transform, align, json_stream
from pipeline.labels.arrow import from_arrow_value, to_arrow_value
from pipeline.labels.changes import LabelChanges
from pipeline.labels.fields import flag, identity, number
from pipeline.labels.formats import FORMATS, FormatName
from pipeline.labels.json_stream import JsonStream
from pipeline.labels.names import PictureName
from pipeline.labels.outside import extent, guess_size, without_outside
from pipeline.labels.table import TableInfo

W, H = 48, 36
Box = tuple[int, int, int, int]
boxes = st.builds(
    lambda x, y, w, h: (x, y, min(w, W - x), min(h, H - y)),
    st.integers(0, W - 1),
    st.integers(0, H - 1),
    st.integers(1, W),
    st.integers(1, H),
)


def corners(box: Box) -> list[list[int]]:
    x, y, w, h = box
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


def coco(found: list[Box]) -> str:
    annotations = [{"category_id": 1, "bbox": list(box), "id": at} for at, box in enumerate(found)]
    return json.dumps({"width": W, "height": H, "annotations": annotations})


def bdd100k(found: list[Box]) -> str:
    objects = [{"category": "c", "box2d": {"x1": x, "y1": y, "x2": x + w, "y2": y + h}} for x, y, w, h in found]
    return json.dumps({"name": "a", "labels": objects})


def bdd100k_2018(found: list[Box]) -> str:
    objects = [{"category": "c", "poly2d": [[*point, "L"] for point in corners(box)]} for box in found]
    return json.dumps({"name": "a", "frames": [{"objects": objects}]})


def yolo(found: list[Box]) -> str:
    return "\n".join(f"0 {(x + w / 2) / W!r} {(y + h / 2) / H!r} {w / W!r} {h / H!r}" for x, y, w, h in found)


def yolo_polygons(found: list[Box]) -> str:
    return "\n".join("0 " + " ".join(f"{x / W!r} {y / H!r}" for x, y in corners(box)) for box in found)


def voc(found: list[Box]) -> str:
    sides = [(("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)) for x, y, w, h in found]
    inner = "".join(
        f"<object><name>c</name><bndbox>{''.join(f'<{tag}>{at}</{tag}>' for tag, at in box)}</bndbox></object>"
        for box in sides
    )
    return f"<annotation><size><width>{W}</width><height>{H}</height></size>{inner}</annotation>"


def cityscapes(found: list[Box]) -> str:
    objects = [{"label": "car", "polygon": corners(box)} for box in found]
    return json.dumps({"imgWidth": W, "imgHeight": H, "objects": objects})


def kitti(found: list[Box]) -> str:
    return "\n".join(f"Car 0 0 0 {x} {y} {x + w} {y + h} 1 1 1 0 0 9 0" for x, y, w, h in found)


def openimages(found: list[Box]) -> str:
    return json.dumps(
        [
            {"LabelName": "c", "XMin": f"{x / W!r}", "XMax": f"{(x + w) / W!r}", "YMin": f"{y / H!r}"}
            | {"YMax": f"{(y + h) / H!r}"}
            for x, y, w, h in found
        ]
    )


WRITERS: dict[str, tuple[FormatName, Callable[[list[Box]], str]]] = {
    "coco": ("coco", coco),
    "bdd100k": ("bdd100k", bdd100k),
    "bdd100k 2018": ("bdd100k", bdd100k_2018),
    "yolo": ("yolo", yolo),
    "yolo polygons": ("yolo", yolo_polygons),
    "voc": ("voc", voc),
    "cityscapes": ("cityscapes", cityscapes),
    "kitti": ("kitti", kitti),
    "openimages": ("openimages", openimages),
}


def read(name: str, found: list[Box], size: tuple[int, int] = (W, H)) -> Labels:
    format, write = WRITERS[name]
    return FORMATS[format].parse(write(found), size, TableInfo(format, 1, [], (), (), {}, ()))


flat_or_not = st.builds(lambda box, w, h: (*box[:2], box[2] * w, box[3] * h), boxes, st.booleans(), st.booleans())


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40)
@given(found=st.lists(flat_or_not, max_size=5))
def test_every_annotation_is_read_or_named(name: str, found: list[Box]) -> None:
    labels = read(name, found)
    wanted = [(x, y, x + w, y + h) for x, y, w, h in found if w and h]
    assert [extent(each) for each in labels.annotations] == [pytest.approx(each, abs=1e-9) for each in wanted]
    assert len(labels.problems) == len(found) - len(wanted)
    assert all("no area" in problem for problem in labels.problems)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60)
@given(found=st.lists(boxes, max_size=4), orientation=st.integers(1, 8))
def test_a_box_comes_out_as_written_and_follows_its_picture(name: str, found: list[Box], orientation: int) -> None:
    upright = (H, W) if orientation >= 5 else (W, H)
    labels = read(name, found)
    assert labels.problems == ()
    assert [extent(each) for each in labels.annotations] == [
        pytest.approx((x, y, x + w, y + h), abs=1e-9) for x, y, w, h in found
    ]
    assert without_outside(labels, (W, H)) == labels
    assert guess_size([(labels, (W, H))]) is None
    stored = from_arrow_value(to_arrow_value(labels), labels.raw)
    assert stored.annotations == labels.annotations
    moved = Transform.orientation(orientation, (W, H)).apply(labels)
    for annotation, (x, y, w, h) in zip(moved.annotations, found, strict=True):
        mask = np.zeros((H, W), np.uint8)
        mask[y : y + h, x : x + w] = 1
        ys, xs = np.nonzero(codec.upright(mask, orientation))
        assert extent(annotation) == pytest.approx((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    if labels.width is not None:
        assert align(labels, orientation, (W, H)).width == upright[0]


@settings(max_examples=60)
@given(found=st.lists(boxes, min_size=3, max_size=9), factor=st.sampled_from([2, 3, 4]))
def test_labels_of_larger_pictures_are_noticed_when_they_lie_outside(found: list[Box], factor: int) -> None:
    larger = [(x * factor, y * factor, w * factor, h * factor) for x, y, w, h in found]
    labels = read("bdd100k", larger)
    outside = sum(x >= W or y >= H for x, y, _, _ in larger)
    guess = guess_size([(labels, (W, H))])
    assert (guess is not None) == (outside > 0 and 4 * outside >= len(larger))
    kept = without_outside(labels, (W, H))
    assert len(kept.annotations) == len(larger) - outside
    assert len(kept.problems) == outside
    if guess is not None and guess.likely is not None:
        assert guess.likely[0] >= max(x + w for x, _, w, _ in larger)
        assert guess.likely[0] * H == guess.likely[1] * W


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200)
@given(value=values, chunk=st.integers(1, 40), indent=st.sampled_from([None, 1]), ascii=st.booleans())
def test_a_streamed_document_is_the_document(value: Any, chunk: int, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    before = json_stream._CHUNK
    json_stream._CHUNK = chunk
    try:
        stream = JsonStream(io.BytesIO(text.encode("utf-8", "surrogatepass")))
        entries = list(stream)
    finally:
        json_stream._CHUNK = before
    assert all(json.loads(entry.text) == entry.value for entry in entries)
    if isinstance(value, list):
        assert [entry.value for entry in entries] == value
    elif isinstance(value, dict):
        again: dict[str, Any] = {key: [] for key in stream.lists}
        for entry in entries:
            assert entry.key is not None
            if entry.listed:
                again[entry.key].append(entry.value)
            else:
                again[entry.key] = entry.value
        assert again == value
    else:
        assert [entry.value for entry in entries] == [value]


@given(value=st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9))
def test_text_numbers_are_numbers(value: float) -> None:
    assert number(str(value), "x") == number(value, "x") == value
    assert identity(value) == identity(float(value)) or value != int(value)
    assert identity(str(int(value))) == identity(int(value))


@pytest.mark.parametrize("text", ["", " ", "1,5", "0x10", "1_000", "nan", "inf", "1e", "--1", "١", "true"])
def test_text_that_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        number(text, "x")


def test_flags() -> None:
    assert [flag(value, "x") for value in ("0", "1", "false", "True", 0, 1, 1.0, None, False, "no")] == [
        *(False, True, False, True, False, True, True, False, False, False)
    ]
    for value in ("2", 2, "maybe", [], {}):
        with pytest.raises(ValueError, match="neither true nor false"):
            flag(value, "x")


parts = st.lists(st.text("ab.1", min_size=1, max_size=4).filter(lambda part: part.strip(".")), min_size=1, max_size=3)


@given(parts=parts, ending=st.sampled_from(["jpg", "PNG", "avif"]))
def test_a_key_fits_the_name_it_came_from(parts: list[str], ending: str) -> None:
    name = PictureName.parse("/".join(parts) + f".{ending}")
    key = PictureName.parse("/".join(parts) + ".jpg")
    for asked in (name, key, PictureName.parse(parts[-1] + ".jpg")):
        assert asked.fit(name, "") is not None
    foreign = PictureName.parse("C:\\elsewhere\\" + parts[-1] + f".{ending}")
    assert key.fit(foreign, "") is not None


@given(
    said=st.dictionaries(st.sampled_from(["timeofday", "weather", "scene"]), st.text(max_size=5)),
    caption=st.none() | st.text(max_size=9),
)
def test_changes_hold_however_often_they_are_made(said: dict[str, str], caption: str | None) -> None:
    changes = LabelChanges.of({"timeofday": "night"}, {"weather": "rainy", "timeofday": "dawn"}, "{caption}, at night")
    labels = Labels(attributes=said, raw="{}")
    once = changes.apply(labels)
    assert once.attributes == {**said, "timeofday": "dawn", "weather": "rainy"}
    assert (once.raw, changes.apply(once)) == ("{}", once)
    assert changes.captioned(caption) == (None if caption is None else f"{caption}, at night")
    assert LabelChanges(caption="at night").captioned(None) == "at night"


def test_a_table_is_read_by_many_threads(tmp_path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from pipeline.labels.table import TableWriter

    writer = TableWriter(tmp_path / "t.sqlite", "coco")
    for at in range(200):
        writer.add(f"{at}.jpg", str(at))
    writer.finish()
    table = LabelTable(tmp_path / "t.sqlite")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: table.find(str(at)), range(200)))
    assert [record.text if record else None for record in found] == [str(at) for at in range(200)]
