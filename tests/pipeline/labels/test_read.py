"""Reading COCO and BDD100K: whole files, single records, look-up by name, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.errors import BadSample, InputError
from pipeline import labels
from pipeline.labels import rle
from pipeline.labels.source import TableSource, open_table
from tests.support.label_files import labels_of, table_of

MASK = np.zeros((60, 80), np.uint8)
MASK[5:20, 10:30] = 1

COCO: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 7, "file_name": "a/one.jpg", "width": 80, "height": 60},
        {"id": 9, "file_name": "two.jpg", "width": 80, "height": 60},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "bbox": [10, 5, 20.5, 15],
            "area": 300.25,
            "iscrowd": 0,
            "segmentation": [[10, 5, 30.5, 5, 30.5, 20]],
            "score": 0.5,
        },
        {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "segmentation": rle.encode(MASK), "area": 300},
        {"id": 3, "image_id": 7, "category_id": 1, "segmentation": {"size": [60, 80], "counts": [1, 2, 4797]}},
        {"id": 4, "image_id": 404, "category_id": 1, "bbox": [0, 0, 1, 1]},
    ],
    "categories": [{"id": 1, "name": "person", "supercategory": "x"}, {"id": 3, "name": "car"}],
}

FRAME: dict[str, Any] = {
    "name": "b1c66a42-6f7d68ca.jpg",
    "attributes": {"weather": "overcast", "timeofday": "daytime", "scene": "city street"},
    "timestamp": 10000,
    "labels": [
        {
            "id": "0",
            "category": "traffic light",
            "attributes": {"occluded": False, "truncated": False, "trafficLightColor": "green"},
            "manualShape": True,
            "box2d": {"x1": 1125.902264, "y1": 133.184488, "x2": 1156.978645, "y2": 210.875445},
        },
        {
            "id": "1",
            "category": "lane/single white",
            "poly2d": [{"vertices": [[10, 20], [30, 40], [50, 60], [70, 90]], "types": "LCCC", "closed": False}],
        },
        {"id": "2", "category": "weather tag"},
    ],
}

OLD_FRAME: dict[str, Any] = {
    "name": "0000f77c-6257be58",
    "frames": [
        {
            "timestamp": 10000,
            "objects": [
                {
                    "category": "car",
                    "id": 4,
                    "attributes": {"occluded": True},
                    "box2d": {"x1": 1, "y1": 2, "x2": 5, "y2": 9},
                },
                {"category": "area/drivable", "id": 5, "poly2d": [[0, 0, "L"], [9, 0, "L"], [9, 9, "L"]]},
                {"category": "lane/crosswalk", "id": 6, "poly2d": [[0, 0, "L"], [9, 9, "L"]]},
            ],
        }
    ],
    "attributes": {"weather": "rainy"},
}


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_coco_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, COCO)
    assert len(table) == 2
    assert table.categories == COCO["categories"]
    found = labels_of(table, "one")
    assert found is not None
    assert (found.width, found.height) == (80, 60)
    car, crowd, small = found.annotations
    assert (car.category, car.category_id, car.bbox, car.area, car.id) == ("car", 3, (10, 5, 20.5, 15), 300.25, "1")
    assert car.segmentation == [[10, 5, 30.5, 5, 30.5, 20]]
    assert car.attributes == {"score": 0.5}
    assert crowd.iscrowd
    assert crowd.rle is not None
    np.testing.assert_array_equal(rle.decode(crowd.rle), MASK)
    assert small.rle is not None
    assert rle.runs(small.rle["counts"]) == [1, 2, 4797]
    empty = labels_of(table, "two")
    assert empty is not None
    assert empty == labels.parse_sample(empty.raw)
    assert empty.annotations == []
    assert table.info.notes == ("annotations of pictures that the label file does not list: 1",)
    assert table.find("three") is None


def test_bdd100k_file_and_frame(tmp_path: Path) -> None:
    table = table_of(tmp_path, [FRAME, {"name": "empty.jpg", "attributes": {}, "labels": None}])
    found = labels_of(table, "b1c66a42-6f7d68ca")
    assert found is not None
    assert found == labels.parse_sample(found.raw)
    assert json.loads(found.raw) == FRAME
    light, lane, tag = found.annotations
    assert light.bbox == (1125.902264, 133.184488, 1156.978645 - 1125.902264, 210.875445 - 133.184488)
    assert light.attributes["trafficLightColor"] == "green"
    assert light.attributes["manualShape"] is True
    assert lane.segmentation == [[10, 20, 30, 40, 50, 60, 70, 90]]
    assert lane.shapes() == [{"types": "LCCC", "closed": False}]
    assert tag.bbox is None
    assert found.attributes["timeofday"] == "daytime"
    empty = labels_of(table, "empty")
    assert empty is not None
    assert empty.annotations == []
    for document in ({"frames": [FRAME]}, FRAME, [FRAME]):
        assert len(table_of(tmp_path, document)) == 1


def test_bdd100k_layout_of_2018(tmp_path: Path) -> None:
    found = labels.parse_sample(dumped(OLD_FRAME))
    assert found.attributes == {"weather": "rainy"}
    car, area, crossing = found.annotations
    assert (car.bbox, car.id) == ((1, 2, 4, 7), "4")
    assert area.segmentation == [[0, 0, 9, 0, 9, 9]]
    assert area.shapes()[0]["closed"]
    assert not crossing.shapes()[0]["closed"]
    assert len(table_of(tmp_path, OLD_FRAME)) == 1


def test_raw_is_the_original_text() -> None:
    text = '{"name" : "x.jpg",\n "attributes":{"k": 1.50}, "labels":[]}'
    found = labels.parse_sample("\ufeff".encode() + text.encode())
    assert found.raw == text
    assert found.attributes == {"k": "1.5"}


def test_per_sample_coco() -> None:
    record = {"width": 8, "height": 6, "annotations": [{"bbox": [1, 1, 2, 2], "category_name": "cat"}]}
    found = labels.parse_sample(json.dumps(record))
    assert (found.width, found.height, found.annotations[0].category) == (8, 6, "cat")
    nested = {"image": {"width": 8, "height": 6, "file_name": "x"}, "annotations": [{"category_id": 4}]}
    assert labels.parse_sample(json.dumps(nested)).annotations[0].category == "4"


def coco_of(tmp_path: Path, *names: str) -> labels.LabelTable:
    images = [{"id": at, "file_name": name, "width": at + 1, "height": 1} for at, name in enumerate(names)]
    return table_of(tmp_path, {"images": images, "annotations": []})


def which(table: labels.LabelTable, *names: str) -> int | None:
    found = labels_of(table, *names)
    return None if found is None else (found.width or 0) - 1


@pytest.mark.parametrize(
    ("format", "files", "classes"),
    [
        ("coco", {"l.json": json.dumps(COCO)}, ("car", "person")),
        (
            "bdd100k",
            {"l.json": '[{"name": "a.jpg", "labels": [{"category": "bus"}, 3]}, {"name": "b.jpg", "labels": null}]'},
            ("bus",),
        ),
        (
            "bdd100k",
            {"a.json": '{"name": "a", "attributes": {}, "frames": [{"objects": [{"category": "car"}]}]}'},
            ("car",),
        ),
        ("yolo", {"labels/a.txt": "0 0.5 0.5 0.1 0.1\n", "data.yaml": "names: [car, bus]"}, ("bus", "car")),
        ("yolo", {"labels/a.txt": "0 0.5 0.5 0.1 0.1\n"}, ()),
        ("voc", {"a.xml": "<annotation><object><name> a &amp; b</name></object></annotation>"}, ("a & b",)),
        ("kitti", {"a.txt": "Tram 0 0 0 1 2 30 40 1 1 1 0 0 0 0\nshort\n"}, ("Tram",)),
        (
            "openimages",
            {"b.csv": "ImageID,LabelName\na,/m/1\na,/m/2\n", "class-descriptions.csv": "/m/1,Car\n"},
            ("/m/2", "Car"),
        ),
    ],
)
def test_a_table_knows_the_classes_of_its_labels(
    tmp_path: Path, format: Any, files: dict[str, str], classes: tuple[str, ...]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    table = open_table(TableSource(str(tmp_path), format))
    assert table.info.classes == classes


def test_look_up(tmp_path: Path) -> None:
    names = ("train/0001.jpg", "val/0001.jpg", "train/0002.jpg", "v1.5/frame.12.jpg", "deep/train/0001.jpg")
    table = coco_of(tmp_path, *names)
    assert which(table, "train/0001") == 0
    assert which(table, "data/val/0001.JPG") == 1
    assert which(table, "0002") == 2
    assert which(table, "0002.png") == 2
    assert which(table, "frame.12") == 3
    assert which(table, "frame") is None
    assert which(table, "test/0002") is None
    assert which(table, "other", "./train/0002.jpg") == 2
    assert which(table, "deep/train/0001") == 4
    with pytest.raises(BadSample) as caught:
        table.find("0001")
    assert caught.value.reason == "ambiguous_labels"
    both = coco_of(tmp_path, "x.jpg", "x.png")
    assert which(both, "x.png") == 1
    with pytest.raises(BadSample):
        both.find("x")


@pytest.mark.parametrize(
    ("format", "data", "says"),
    [
        ("coco", b'{"images": [\n  {]}', "line 2, column 4"),
        ("coco", b"\xff\xfe", "UTF-8"),
        ("coco", b"", "line 1"),
        ("coco", b"[]", "not an object"),
        ("coco", b'{"images": []}', "annotations"),
        ("coco", b'{"images": [{}], "annotations": []}', "file_name"),
        ("coco", b'{"images": 3, "annotations": []}', "not a list"),
        ("coco", b'{"images": [{"id": [], "file_name": "x"}], "annotations": []}', "id"),
        ("coco", b"[" * 100_000, "deep"),
        ("bdd100k", b'[{"attributes": {}}]', "frame 0 has no name"),
        ("bdd100k", b'"text"', "nor an object"),
        ("bdd100k", b'{"frames": 1}', "not a list"),
        ("auto", b'{"images": [\n  {]}', "line 2, column 4"),
        ("auto", b'{"caption": "a street"}', "it has caption"),
    ],
)
def test_unreadable_files_are_user_errors(tmp_path: Path, format: Any, data: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        table_of(tmp_path, data, format)
    message = str(caught.value)
    assert says in message
    assert message.startswith(str(tmp_path / "labels.json"))
    assert "\n" not in message


def record_with(**field: Any) -> str:
    return json.dumps({"width": 80, "height": 60, "annotations": [{"category_id": 1, **field}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        "{}",
        '{"caption": "a street"}',
        '{"width": 0, "annotations": []}',
        '{"annotations": 7}',
        '{"name": "x", "labels": {}}',
        '{"name": "x", "frames": [{"objects": []}, {"objects": []}]}',
    ],
)
def test_bad_records_cost_one_sample(text: str) -> None:
    with pytest.raises(BadSample) as caught:
        labels.parse_sample(text)
    assert caught.value.reason == "bad_labels"
    assert "\n" not in str(caught.value)


GOOD = {"category_id": 2, "bbox": [1, 1, 5, 5]}
GOOD_OBJECT = {"category": "car", "box2d": {"x1": 1, "y1": 1, "x2": 6, "y2": 6}}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (7, "not an object"),
        ({"bbox": [1, 2, 3]}, "3 numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative"),
        ({"bbox": [1, 2, "three", 4]}, "not a finite number"),
        ({"bbox": [1, 2, float("nan"), 4]}, "not a finite number"),
        ({"bbox": [1, 2, 10**400, 4]}, "not a finite number"),
        ({"bbox": {"x": 1}}, "not a list"),
        ({"bbox": [1, 2, 0, 4]}, "bbox has no area (0 x 4)"),
        ({"bbox": []}, "has no box, polygon, mask or keypoints"),
        ({"bbox": None}, "has no box, polygon, mask or keypoints"),
        ({"segmentation": []}, "has no box, polygon, mask or keypoints"),
        ({"keypoints": [0, 0, 0]}, "has no box, polygon, mask or keypoints"),
        ({"segmentation": [[1, 1, 5, 5]]}, "2 points"),
        ({"segmentation": [[1, 1, 5, 5, 9, 9]]}, "on one line"),
        ({"segmentation": {"size": [60, 80], "counts": [4800]}}, "without a pixel"),
        ({"category_id": None, "bbox": [1, 2, 3, 4]}, "category_id is null"),
        ({"segmentation": [[1, 2, 3]]}, "odd number"),
        ({"segmentation": 5}, "neither polygons nor a mask"),
        ({"segmentation": {"size": [4, 4], "counts": [1]}}, "add up"),
        ({"segmentation": {"size": [4, 4], "counts": "!!"}}, "run-length"),
        ({"segmentation": {"size": [4], "counts": [4]}}, "height, width"),
        ({"segmentation": {"size": [4, 4], "counts": [0, 16]}}, "a mask of 4x4 pixels in a picture of 80x60"),
        ({"category_id": "car"}, "category_id"),
        ({"category_id": 1.5}, "not a whole number"),
        ({"area": "big"}, "area"),
        ({"iscrowd": "perhaps"}, "neither true nor false"),
        ({"keypoints": [1, 2]}, "visible"),
    ],
)
def test_a_bad_annotation_costs_itself_and_is_named(bad: Any, says: str) -> None:
    wrong = {"category_id": 1, **bad} if isinstance(bad, dict) else bad
    found = labels.parse_sample(json.dumps({"width": 80, "height": 60, "annotations": [wrong, GOOD]}))
    assert [each.bbox for each in found.annotations] == [(1, 1, 5, 5)]
    (problem,) = found.problems
    assert problem.startswith("annotations[0]")
    assert says in problem


@pytest.mark.parametrize(
    "bad",
    [
        {"box2d": {"x1": 1}},
        {"box2d": {"x1": 5, "y1": 0, "x2": 1, "y2": 1}},
        {"box2d": {"x1": 5, "y1": 0, "x2": 5, "y2": 1}},
        {"box2d": None, "category": "car"},
        {"category": None, "box2d": {"x1": 1, "y1": 1, "x2": 6, "y2": 6}},
        {"poly2d": [{"vertices": [[1, 2], [3, 4], [5, 6]], "types": "LLL", "closed": True}]},
        {"poly2d": [{"vertices": [[1, 2]], "types": "LL"}]},
        {"poly2d": [{"types": "L"}]},
        {"poly2d": [[1, 2]]},
        "car",
    ],
)
def test_a_bad_bdd100k_object_costs_itself(bad: Any) -> None:
    found = labels.parse_sample(json.dumps({"name": "x", "labels": [GOOD_OBJECT, bad]}))
    assert [each.bbox for each in found.annotations] == [(1, 1, 5, 5)]
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"iscrowd": "0"}, {"iscrowd": False}),
        ({"iscrowd": "1"}, {"iscrowd": True}),
        ({"iscrowd": 1}, {"iscrowd": True}),
        ({"area": "600"}, {"area": 600.0}),
        ({"category_id": "1"}, {"category": "car", "category_id": 1}),
        ({"category_id": 1.0}, {"category": "car", "category_id": 1}),
        ({"bbox": ["1", "2", "3.5", "4e1"]}, {"bbox": (1, 2, 3.5, 40)}),
        ({"bbox": None, "segmentation": [[1, 1, 30, 1, 30, 20]]}, {"bbox": None}),
        ({"bbox": [], "keypoints": [1, 2, 2]}, {"bbox": None}),
        ({"bbox": None, "caption": "a street"}, {"bbox": None}),
        ({"segmentation": [1, 1, 30, 1, 30, 20]}, {"segmentation": [[1, 1, 30, 1, 30, 20]]}),
        ({"segmentation": []}, {"segmentation": None}),
        ({"keypoints": ["1.5", 2, "2"]}, {"attributes": {"keypoints": [1.5, 2, 2]}}),
    ],
)
def test_odd_annotations_are_read_for_what_they_mean(change: dict[str, Any], expected: dict[str, Any]) -> None:
    annotation = {"category_id": 1, "bbox": [1, 2, 3, 4], **change}
    record = {"annotations": [annotation], "categories": [{"id": 1, "name": "car"}]}
    found = labels.parse_sample(json.dumps(record))
    assert found.problems == ()
    assert {name: getattr(found.annotations[0], name) for name in expected} == expected


def test_a_polygon_of_two_points_is_left_out_and_its_object_kept() -> None:
    shape = {"segmentation": [[1, 1, 9, 9], [1, 1, 30, 1, 30, 20]]}
    found = labels.parse_sample(json.dumps({"annotations": [{"category_id": 1, **shape}]}))
    assert found.annotations[0].segmentation == [[1, 1, 30, 1, 30, 20]]
    assert found.problems == ("annotations[0].segmentation[0] has 2 points, too few for a polygon",)


def test_a_part_that_covers_nothing_is_left_out_and_its_object_kept() -> None:
    empty = {"size": [60, 80], "counts": [4800]}
    odd = [
        {"category_id": 1, "bbox": [5, 5, 0, 0], "segmentation": [[1, 1, 30, 1, 30, 20]]},
        {"category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": empty},
    ]
    found = labels.parse_sample(json.dumps({"width": 80, "height": 60, "annotations": odd}))
    assert [(each.bbox, each.segmentation, each.rle) for each in found.annotations] == [
        (None, [[1, 1, 30, 1, 30, 20]], None),
        ((1, 2, 3, 4), None, None),
    ]
    assert found.problems == (
        "annotations[0].bbox has no area (0 x 0)",
        "annotations[1].segmentation is a mask without a pixel",
    )


def test_a_class_that_is_not_declared_keeps_its_number_and_is_named(tmp_path: Path) -> None:
    one = {"category_id": 77, "bbox": [1, 2, 3, 4]}
    document = {"images": [{"id": 0, "file_name": "a.png"}], "annotations": [{"image_id": 0, **one}]}
    for categories, problems in (
        (
            [{"id": 1, "name": "car"}],
            ("annotations[0].category_id 77 is not declared: the number is kept, without a name",),
        ),
        ([], ()),
    ):
        found = labels_of(table_of(tmp_path, {**document, "categories": categories}), "a")
        assert found is not None
        assert [(each.category, each.category_id) for each in found.annotations] == [("77", 77)]
        assert found.problems == problems


@pytest.mark.parametrize(("image", "annotation"), [(0, "0"), ("0", 0), (7, 7.0), ("a", "a"), ("07", "7")])
def test_image_ids_match_as_text_and_as_numbers(tmp_path: Path, image: Any, annotation: Any) -> None:
    document = {
        "images": [{"id": image, "file_name": "a.png"}],
        "annotations": [{"image_id": annotation, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    found = labels_of(table_of(tmp_path, document), "a")
    assert found is not None
    assert len(found.annotations) == 1


WORDS = (
    "annotations labels frames objects poly2d box2d bbox segmentation size counts vertices types x1 width image images "
    "categories id attributes rle name"
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-9, 9) | st.text("Lx", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=json_values, format=st.sampled_from(["auto", "coco", "bdd100k"]))
def test_any_json_is_read_or_refused(value: Any, format: Any) -> None:
    try:
        labels.parse_sample(json.dumps(value), format)
    except BadSample as error:
        rejection = error.reason
    else:
        rejection = "bad_labels"
    assert rejection == "bad_labels"
