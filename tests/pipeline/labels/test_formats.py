"""Every label format that is read: a small source of each, with the values that must come out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from methods.errors import BadSample, InputError
from pipeline.labels import TableSource, open_table, parse_sample
from pipeline.labels.files import LabelFiles
from pipeline.labels.formats import recognise
from pipeline.storage import StorageOptions
from tests.support.label_files import labels_of, write_files

SIZE = (200, 100)


def png(values: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(out, "PNG")
    return out.getvalue()


def opened(folder: Path, files: dict[str, Any], uri: str = "", format: Any = "auto"):
    write_files(folder, files)
    return open_table(TableSource(str(folder / uri) if uri else str(folder), format))


def test_yolo_detect(tmp_path: Path) -> None:
    table = opened(
        tmp_path,
        {
            "data.yaml": "names: {0: car, 2: bus}\n",
            "labels/train/1.txt": "2 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.2 0.9\n\n",
            "labels/train/2.txt": "",
            "labels/val/1.txt": "7 0.5 0.5 1 1\n",
        },
        "labels",
    )
    assert table.info.format == "yolo"
    assert table.categories == [{"id": 0, "name": "car"}, {"id": 2, "name": "bus"}]
    found = labels_of(table, "train/1", size=SIZE)
    assert found is not None
    bus, car = found.annotations
    assert (bus.category, bus.category_id) == ("bus", 2)
    assert bus.bbox == pytest.approx((80, 30, 40, 40))
    assert car.attributes == {"score": 0.9}
    empty, other = (labels_of(table, name, size=SIZE) for name in ("train/2", "images/val/1.jpg"))
    assert empty is not None
    assert empty.annotations == []
    assert other is not None
    assert other.annotations[0].category == "7"


@pytest.mark.parametrize(
    ("format", "good", "bad", "text"),
    [
        ("yolo", "labels/a.txt", "labels/b.txt", "0 0.5 0.5 0.2 0.2\n"),
        (
            "kitti",
            "label_2/a.txt",
            "label_2/b.txt",
            "Car 0.00 0 1.85 10 20 30 40 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n",
        ),
        ("voc", "Annotations/a.xml", "Annotations/b.xml", "<annotation><filename>a.jpg</filename></annotation>"),
        (
            "cityscapes",
            "gtFine/a_gtFine_polygons.json",
            "gtFine/b_gtFine_polygons.json",
            '{"imgHeight": 100, "imgWidth": 200, "objects": []}',
        ),
    ],
)
def test_a_text_in_another_encoding_is_its_pictures_fault_alone(
    tmp_path: Path, format: Any, good: str, bad: str, text: str
) -> None:
    table = opened(tmp_path, {good: text, bad: text.encode("utf-16")}, format=format)
    ending = "_leftImg8bit" if format == "cityscapes" else ""
    assert labels_of(table, f"a{ending}", size=SIZE) is not None
    with pytest.raises(BadSample, match=r"^labels: byte 0 is not UTF-8 text$"):
        labels_of(table, f"b{ending}", size=SIZE)


def test_rotated_boxes_stay_so_beside_a_text_in_another_encoding(tmp_path: Path) -> None:
    box = "0 0.5 0 1 0.5 0.5 1 0 0.5\n"
    table = opened(tmp_path, {"labels/a.txt": box, "labels/b.txt": box.encode("utf-16")})
    found = labels_of(table, "a", size=SIZE)
    assert found is not None
    assert found.annotations[0].attributes == {"obb": True}


def test_yolo_segment_pose_and_rotated_boxes(tmp_path: Path) -> None:
    segment = opened(tmp_path / "s", {"labels/a.txt": "1 0 0 0.5 0 0.5 0.5 0.25 0.75 0 0.5\n", "classes.txt": "x\ny\n"})
    found = labels_of(segment, "a", size=SIZE)
    assert found is not None
    assert found.annotations[0].segmentation == [[0, 0, 100, 0, 100, 50, 50, 75, 0, 50]]
    assert (found.annotations[0].category, found.annotations[0].bbox) == ("y", (0, 0, 100, 75))
    rotated = opened(tmp_path / "o", {"labels/a.txt": "0 0.5 0 1 0.5 0.5 1 0 0.5\n"})
    found = labels_of(rotated, "a", size=SIZE)
    assert found is not None
    assert found.annotations[0].segmentation == [[100, 0, 200, 50, 100, 100, 0, 50]]
    assert found.annotations[0].attributes == {"obb": True}
    pose = opened(
        tmp_path / "p",
        {
            "dataset/data.yaml": "names: [person]\nkpt_shape: [2, 3]\n",
            "dataset/labels/a.txt": "0 0.5 0.5 0.5 0.5 0.1 0.2 2 0 0 0\n",
        },
        "dataset/labels",
    )
    found = labels_of(pose, "a", size=SIZE)
    assert found is not None
    assert found.annotations[0].attributes == {"keypoints": [20, 20, 2, 0, 0, 0]}


def test_yolo_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    lines = "0 0.5 0.5 0.2 0.4\n0 0.5 0.5\n0 90 30 40 40\n-1 0.5 0.5 0.1 0.1\nx 0.5 0.5 0.1 0.1\n"
    found = labels_of(opened(tmp_path, {"1.txt": lines}, format="yolo"), "1", size=SIZE)
    assert found is not None
    assert len(found.annotations) == 1
    assert [each[:7] for each in found.problems] == ["line[1]", "line[2]", "line[3]", "line[4]"]


VOC = """<annotation><folder>x</folder><filename>other.jpg</filename>
<size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>{left}</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>
<part><name>head</name><bndbox><xmin>12</xmin><ymin>22</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></part></object>
<object><name>dog</name><bndbox><xmin>5</xmin></bndbox></object></annotation>"""


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    files = {
        "Annotations/1.xml": VOC.format(left=11),
        "SegmentationClass/1.png": png(np.ones((100, 200))),
    }
    table = opened(tmp_path / "one", files)
    record = table.find("JPEGImages/1.jpg") or table.find("1")
    assert record is not None
    assert table.info.masks == ("class.png",)
    assert record.masks["class.png"].endswith("SegmentationClass/1.png")
    found = labels_of(table, "1")
    assert found is not None
    assert (found.width, found.height) == SIZE
    person, head = found.annotations
    assert person.bbox == (10, 20, 30, 40)
    assert person.attributes == {"pose": "Left", "truncated": 1, "difficult": 0}
    assert (head.category, head.bbox, head.attributes) == ("head", (11, 21, 9, 9), {"part_of": "person"})
    assert len(found.problems) == 1
    found = labels_of(opened(tmp_path / "zero", {"1.xml": VOC.format(left=0)}), "1")
    assert found is not None
    assert found.annotations[0].bbox == (0, 21, 40, 39)


def test_voc_sets_side_by_side_do_not_take_each_others_labels(tmp_path: Path) -> None:
    text = "<annotation><object><name>{}</name><polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>1</y2><x3>9</x3><y3>9</y3>"
    text += "</polygon></object></annotation>"
    files = {f"{name}/Annotations/1.xml": text.format(name) for name in ("first", "second")}
    files |= {f"{name}/SegmentationClass/1.png": png([[1]]) for name in ("first", "second")}
    table = opened(tmp_path, {**files, "first/Annotations/2.xml": text.format("alone")})
    for name in ("first", "second"):
        labels = labels_of(table, f"{name}/JPEGImages/1", size=(20, 20))
        assert labels is not None
        assert [each.category for each in labels.annotations] == [name]
        found = table.find(f"{name}/JPEGImages/1")
        assert found is not None
        assert found.masks == {"class.png": str(tmp_path / name / "SegmentationClass" / "1.png")}
    with pytest.raises(BadSample, match="2 pictures that '1' may mean"):
        table.find("1")
    assert table.find("2") is not None
    assert table.find("photos/2") is not None


def test_voc_objects_in_an_element_of_their_own_and_a_second_box(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    text = f"<annotation><objects><object><name>car</name>{box}{box}</object></objects></annotation>"
    labels = labels_of(opened(tmp_path, {"a.xml": text}), "a", size=(20, 20))
    assert labels is not None
    assert [each.category for each in labels.annotations] == ["car"]
    assert labels.problems == ("object[0] has several bndbox: the first is kept",)


def test_a_bad_part_of_a_person_costs_itself_alone(tmp_path: Path) -> None:
    for name, part in {"flat": "<bndbox><xmin>5</xmin></bndbox>", "none": ""}.items():
        text = VOC.format(left=11).replace("</part>", f"</part><part><name>hand</name>{part}</part>")
        found = labels_of(opened(tmp_path / name, {"Annotations/1.xml": text}), "1")
        assert found is not None
        assert [each.category for each in found.annotations] == ["person", "head"]
        assert any(each.startswith("object[0].part[1]") for each in found.problems)


def test_large_category_numbers_of_our_own_records_keep_every_digit() -> None:
    record = {"format": "sceneshift/1", "annotations": [{"category_id": 2**53 + 1, "bbox": [1, 2, 3, 4]}]}
    assert parse_sample(json.dumps(record)).annotations[0].category_id == 2**53 + 1


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>',
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
        "<annotation>" + "<a>" * 100 + "</a>" * 100 + "</annotation>",
        "<other/>",
        "<annotation>",
        "",
    ],
)
def test_voc_refuses_entities_and_what_is_no_annotation(tmp_path: Path, text: str) -> None:
    table = opened(tmp_path, {"1.xml": text})
    with pytest.raises(BadSample, match="labels"):
        labels_of(table, "1")


def test_cityscapes(tmp_path: Path) -> None:
    stem = "train/aachen/aachen_000000_000019"
    polygons = {
        "imgHeight": 100,
        "imgWidth": 200,
        "objects": [
            {"label": "car", "polygon": [[1, 2], [30, 2], [30, 20]]},
            {"label": "persongroup", "polygon": [[1, 2], [3, 2], [3, 4]]},
            {"label": "car", "polygon": [[1, 2]]},
            {"label": "bus", "polygon": [[1, 2], [3, 2], [3, 4]], "deleted": 1},
        ],
    }
    files = {
        f"gtFine/{stem}_gtFine_polygons.json": polygons,
        **{
            f"gtFine/{stem}_gtFine_{kind}.png": png([[7]])
            for kind in ("labelIds", "instanceIds", "labelTrainIds", "color")
        },
    }
    table = opened(tmp_path, files, "gtFine")
    assert table.info.masks == ("instanceIds.png", "labelIds.png", "trainIds.png")
    record = table.find(f"leftImg8bit/{stem}_leftImg8bit")
    assert record is not None
    assert record.masks["trainIds.png"].endswith("_gtFine_labelTrainIds.png")
    found = labels_of(table, f"{stem}_leftImg8bit")
    assert found is not None
    assert [(each.category, each.category_id, each.iscrowd) for each in found.annotations] == [
        ("car", 26, False),
        ("person", 24, True),
    ]
    assert found.annotations[0].segmentation == [[1, 2, 30, 2, 30, 20]]
    assert len(found.problems) == 1


def test_kitti(tmp_path: Path) -> None:
    lines = (
        "Car 0.25 1 -1.57 10.5 20 40.5 60 1.5 1.6 3.7 -0.65 1.71 46.7 -1.59\n"
        "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10 0.5\nCar 1\n"
    )
    table = opened(tmp_path, {"training/label_2/000001.txt": lines})
    assert table.info.format == "kitti"
    found = labels_of(table, "training/image_2/000001.png")
    assert found is not None
    car, ignored = found.annotations
    assert (car.category, car.bbox) == ("Car", (10.5, 20, 30, 40))
    assert car.attributes["dimensions"] == [1.5, 1.6, 3.7]
    assert car.attributes["rotation_y"] == -1.59
    assert ignored.attributes["score"] == 0.5
    assert len(found.problems) == 1


def test_open_images(tmp_path: Path) -> None:
    rows = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
        "ab,xclick,/m/0k4j,1,0.1,0.3,0.2,0.6,0,1\nab,xclick,/m/x,1,0.1,wide,0.2,0.6,0,0\n"
    )
    table = opened(tmp_path, {"boxes.csv": rows, "class-descriptions-boxable.csv": "/m/0k4j,Car\n"})
    assert table.info.format == "openimages"
    found = labels_of(table, "ab.jpg", size=SIZE)
    assert found is not None
    (car,) = found.annotations
    assert car.bbox == pytest.approx((20, 20, 40, 40))
    assert (car.category, car.iscrowd, car.attributes["LabelName"]) == ("Car", True, "/m/0k4j")
    assert len(found.problems) == 1


def coco(annotations: list[Any], name: str = "a.jpg", **more: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": name, "width": 200, "height": 100}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 3, "name": "car"}], **more}


def test_coco_files_of_several_kinds_are_put_together(tmp_path: Path) -> None:
    box = {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    segments = [{"id": 256, "category_id": 3, "area": 12, "bbox": [1, 2, 3, 4], "iscrowd": 0}]
    files = {
        "annotations/instances_val2017.json": coco([box]),
        "annotations/person_keypoints_val2017.json": coco([{**box, "keypoints": [2, 3, 2], "num_keypoints": 1}]),
        "annotations/captions_val2017.json": coco([{"id": 9, "image_id": 1, "caption": "a car"}]),
        "annotations/panoptic_val2017.json": coco([{"image_id": 1, "file_name": "a.png", "segments_info": segments}]),
        "annotations/panoptic_val2017/a.png": png(np.zeros((100, 200, 3))),
        "annotations/instances_train2017.json": coco([{**box, "bbox": [9, 9, 9, 9]}]),
    }
    table = opened(tmp_path, files)
    assert len(table) == 2
    assert table.categories == [{"id": 3, "name": "car"}]
    found = labels_of(table, "val2017/a")
    assert found is not None
    assert found.captions == ["a car"]
    assert [(each.category, each.id) for each in found.annotations] == [("", "9"), ("car", "5"), ("car", "256")]
    instance, segment = found.annotations[1:]
    assert instance.attributes == {"keypoints": [2, 3, 2], "num_keypoints": 1}
    assert segment.attributes == {"segment_id": 256}
    record = table.find("val2017/a")
    assert record is not None
    assert record.masks["panoptic.png"].endswith("panoptic_val2017/a.png")
    train = labels_of(table, "train2017/a")
    assert train is not None
    assert train.annotations[0].bbox == (9, 9, 9, 9)


def test_coco_pictures_that_share_an_id_are_refused(tmp_path: Path) -> None:
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}
    tree = coco([box]) | {"images": [{"id": 0, "file_name": name} for name in ("a.jpg", "b.jpg")]}
    with pytest.raises(InputError, match=r"several pictures have the id 0 \(a.jpg, b.jpg\)"):
        opened(tmp_path / "one", {"l.json": tree})
    # without annotations there is nothing to mistake
    opened(tmp_path / "two", {"l.json": tree | {"annotations": []}})


def test_coco_files_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    files = {"a.json": coco([]), "b.json": coco([], categories=[{"id": 3, "name": "bus"}])}
    with pytest.raises(InputError, match=r"b\.json.*category 3 is 'bus' here and 'car' before"):
        opened(tmp_path, files)


def test_paths_of_another_machine_match_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(("C:\\sets\\data\\a.png", "/home/me/a.png", "../../media/upload/1/a.png")):
        table = opened(tmp_path / str(number), {"labels.json": coco([], name)})
        assert table.find("data/a") is not None
        assert table.find("images/train/a.jpg") is not None


def test_two_categories_of_one_name_keep_their_numbers(tmp_path: Path) -> None:
    categories = [{"id": 4, "name": "other", "supercategory": "vehicle"}, {"id": 9, "name": "other"}]
    boxes = [{"id": n, "image_id": 1, "category_id": n, "bbox": [1, 2, 3, 4]} for n in (4, 9)]
    table = opened(tmp_path, {"labels.json": coco(boxes, categories=categories)})
    found = labels_of(table, "a")
    assert found is not None
    assert [(each.category, each.category_id) for each in found.annotations] == [("other", 4), ("other", 9)]
    assert table.categories == categories


BOX2D = {"id": 1, "category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 31, "y2": 22}}


def test_bdd100k_in_a_folder_and_in_several_files(tmp_path: Path) -> None:
    box = BOX2D
    old = {"name": "f0", "attributes": {}, "frames": [{"timestamp": 0, "objects": [box]}]}
    table = opened(tmp_path / "2018", {"train/f0.json": old, "train/f1.json": {**old, "name": None}})
    assert table.info.format == "bdd100k"
    for name in ("f0", "train/f1"):
        found = labels_of(table, name)
        assert found is not None
        assert found.annotations[0].bbox == (1, 2, 30, 20)
    curb = {"vertices": [[1, 2], [3, 4]], "types": "LL", "closed": False}
    lane = {"id": 2, "category": "lane/road curb", "poly2d": [curb]}
    mask = {"id": 3, "category": "car", "rle": {"size": [2, 3], "counts": [1, 5]}}
    files = {
        "det_20/det_train.json": [{"name": "a.jpg", "attributes": {"weather": "clear"}, "labels": [box]}],
        "lane/lane_train.json": [{"name": "a.jpg", "labels": [lane]}],
        "ins_seg/ins_seg_train.json": {"frames": [{"name": "a.jpg", "labels": [mask]}], "config": {}},
    }
    found = labels_of(opened(tmp_path / "2020", files), "images/100k/train/a")
    assert found is not None
    assert sorted(each.category for each in found.annotations) == ["car", "car", "lane/road curb"]
    assert found.attributes == {"weather": "clear"}


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            {"labels": [BOX2D]},
            {"labels": [BOX2D]},
            "2 label files are called like its own, and more than one has boxes",
        ),
        (
            {"videoName": "x"},
            {"videoName": "y"},
            "label files that are called like its own contradict each other in vid",
        ),
        ({"attributes": {"weather": "clear"}}, {"attributes": {"weather": "snowy"}}, "contradict each other in attrib"),
    ],
)
def test_bdd100k_of_two_sequences_is_not_put_together(tmp_path: Path, first: Any, second: Any, reason: str) -> None:
    files = {f"labels/{name}.json": [{"name": "0001.jpg", **frame}] for name, frame in (("a", first), ("b", second))}
    table = opened(tmp_path, files)
    with pytest.raises(BadSample, match=reason) as error:
        labels_of(table, "0001")
    assert error.value.reason == "bad_labels"


@pytest.mark.parametrize(
    ("files", "format"),
    [
        ({"x.json": {"info": {}, "annotations": [], "images": []}}, "coco"),
        ({"x.json": []}, "bdd100k"),
        ({"x.json": {"frames": []}}, "bdd100k"),
        ({"x.xml": "<a/>"}, "voc"),
        ({"a_gtFine_labelIds.png": b""}, "cityscapes"),
        ({"labels/1.txt": "", "labels/2.txt": "0 0.5 0.5 1 1"}, "yolo"),
        ({"1.txt": "Car 0 0 0 1 1 1 1 1 1 1 1 1 1 1"}, "kitti"),
        ({"x.csv": "ImageID"}, "openimages"),
    ],
)
def test_formats_are_recognised(tmp_path: Path, files: dict[str, Any], format: str) -> None:
    assert recognise(LabelFiles.under(str(write_files(tmp_path, files)), StorageOptions())) == format


@pytest.mark.parametrize("files", [{"x.bin": b""}, {"notes.txt": "hello you"}, {"x.json": {"caption": "x"}}])
def test_what_is_no_label_source_is_an_error(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        opened(tmp_path, files)


def test_a_changed_source_is_read_again(tmp_path: Path) -> None:
    assert len(opened(tmp_path, {"labels/1.txt": "0 0.5 0.5 1 1\n"}, "labels")) == 1
    assert len(opened(tmp_path, {"labels/2.txt": "0 0.5 0.5 1 1\n"}, "labels")) == 2
    table = opened(tmp_path, {"classes.txt": "car\n"}, "labels")
    assert table.categories == [{"id": 0, "name": "car"}]
