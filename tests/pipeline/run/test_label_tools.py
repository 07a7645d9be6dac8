"""Exports of Label Studio and CVAT, and dataset roots, as they are unpacked: each picture finds its own labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from methods.errors import InputError
from pipeline.labels import TableSource, open_table
from pipeline.run.driver import run_job
from pipeline.sources.roots import resolve_root
from pipeline.spec import SourceSpec
from tests.support.datasets import encoded, picture, write_tar
from tests.support.jobs import index_rows, job
from tests.support.label_files import write_files

SIZE = (96, 64)
PNG, JPG = encoded(picture(1, SIZE), "PNG"), encoded(picture(1, SIZE))
SQUARE = [10.0, 8.0, 30.0, 8.0, 30.0, 28.0, 10.0, 28.0]

CVAT_COCO: dict[str, Any] = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [{"id": 1, "name": "car", "supercategory": ""}, {"id": 2, "name": "person", "supercategory": ""}],
    "images": [
        {
            "id": number,
            "width": 96,
            "height": 64,
            "file_name": name,
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
        for number, name in enumerate(["frame_000000.PNG", "cam 1/frame_000001.PNG"], start=1)
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [SQUARE],
            "area": 400.0,
            "bbox": [10.0, 8.0, 20.0, 20.0],
            "iscrowd": 0,
            "attributes": {"occluded": False, "color": "red"},
        },
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "segmentation": {"counts": [100, 50, 96 * 64 - 150], "size": [64, 96]},
            "area": 50.0,
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "iscrowd": 1,
            "attributes": {"occluded": True},
        },
    ],
}
LABEL_STUDIO_COCO: dict[str, Any] = {
    "images": [
        {"width": 96, "height": 64, "id": 0, "file_name": "images\\1a2b3c4d-my_street.jpg"},
        {"width": 96, "height": 64, "id": 1, "file_name": "images/1/5e6f7a8b-other.jpg"},
    ],
    "categories": [{"id": 0, "name": "Car"}, {"id": 1, "name": "Person"}],
    "annotations": [
        {
            "id": number,
            "image_id": number,
            "category_id": number,
            "segmentation": [],
            "bbox": [10.0, 8.0, 20.0, 20.0],
            "ignore": 0,
            "iscrowd": 0,
            "area": 400,
        }
        for number in range(2)
    ],
    "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
}
LINE = "0 0.208333 0.281250 0.208333 0.312500\n"
BOX = [10.0, 8.0, 20.0, 20.0]
KITTI = "Car 0.00 0 -1.58 10.00 8.00 30.00 28.00 1.5 1.6 3.9 1.0 1.5 9.0 -1.6\n"
VOC = (
    "<annotation><filename>a.png</filename><size><width>96</width><height>64</height><depth>3</depth></size>"
    "<object><name>car</name><bndbox><xmin>11</xmin><ymin>9</ymin><xmax>30</xmax><ymax>28</ymax></bndbox></object>"
    "</annotation>"
)
EXPORTS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, list[float]]]]] = {
    "CVAT COCO 1.0": (
        {
            "annotations/instances_default.json": CVAT_COCO,
            "images/default/frame_000000.PNG": PNG,
            "images/default/cam 1/frame_000001.PNG": PNG,
        },
        {"images/default/frame_000000": ("car", BOX), "images/default/cam 1/frame_000001": ("person", [1, 2, 3, 4])},
    ),
    "CVAT YOLO 1.1": (
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
            "obj.names": "car\nperson\n",
            "train.txt": "data/obj_train_data/frame_000000.PNG\ndata/obj_train_data/frame_000001.PNG\n",
            "obj_train_data/frame_000000.PNG": PNG,
            "obj_train_data/frame_000000.txt": LINE,
            "obj_train_data/frame_000001.PNG": PNG,
            "obj_train_data/frame_000001.txt": LINE.replace("0 ", "1 ", 1),
        },
        {"obj_train_data/frame_000000": ("car", BOX), "obj_train_data/frame_000001": ("person", BOX)},
    ),
    "CVAT Ultralytics YOLO": (
        {
            "data.yaml": "names:\n  0: car\n  1: person\npath: .\ntrain: train.txt\n",
            "train.txt": "data/images/train/frame_000000.png\n",
            "images/train/frame_000000.png": PNG,
            "labels/train/frame_000000.txt": LINE,
        },
        {"images/train/frame_000000": ("car", BOX)},
    ),
    "labelImg YOLO, beside the pictures": (
        {
            "a.png": PNG,
            "a.txt": LINE,
            "more/b.jpg": JPG,
            "more/b.txt": LINE,
            "more/empty.jpg": JPG,
            "classes.txt": "car",
        },
        {"a": ("car", BOX), "more/b": ("car", BOX)},
    ),
    "AnyLabeling YOLO, without class names": ({"a.png": PNG, "a.txt": LINE}, {"a": ("0", BOX)}),
    "labelImg Pascal VOC, beside the pictures": (
        {"a.png": PNG, "a.xml": VOC, "b.png": PNG},
        {"a": ("car", BOX)},
    ),
    "Label Studio COCO": (
        {
            "result.json": LABEL_STUDIO_COCO,
            "images/1a2b3c4d-my_street.jpg": JPG,
            "images/1/5e6f7a8b-other.jpg": JPG,
        },
        {"images/1a2b3c4d-my_street": ("Car", BOX), "images/1/5e6f7a8b-other": ("Person", BOX)},
    ),
    "Label Studio YOLO": (
        {
            "classes.txt": "Car\nPerson\n",
            "notes.json": {"categories": [{"id": 0, "name": "Car"}, {"id": 1, "name": "Person"}], "info": {}},
            "images/1a2b3c4d-my_street.jpg": JPG,
            "labels/1a2b3c4d-my_street.txt": LINE,
        },
        {"images/1a2b3c4d-my_street": ("Car", BOX)},
    ),
    "KITTI": (
        {
            "training/image_2/000000.png": PNG,
            "training/label_2/000000.txt": KITTI,
            "training/calib/000000.txt": "P0: 7.2e+02 0 6.1e+02 0 0 7.2e+02 1.7e+02 0 0 0 1 0\n",
            "testing/image_2/000000.png": PNG,
            "testing/calib/000000.txt": "P0: 7.2e+02 0 6.1e+02 0 0 7.2e+02 1.7e+02 0 0 0 1 0\n",
        },
        {"training/image_2/000000": ("Car", BOX)},
    ),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_as_it_is_unpacked(tmp_path: Path, name: str) -> None:
    files, expected = EXPORTS[name]
    write_files(tmp_path / "in", files)
    outcome = run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    found = {
        key: [(each["category"], pytest.approx(each["bbox"], abs=1e-3)) for each in row["labels"]["annotations"]]
        for key, row in rows.items()
        if row["labels"] is not None
    }
    assert found == {key: [label] for key, label in expected.items()}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert not any(row["label_problems"] for row in rows.values())
    assert outcome.summary.labels["unmatched"] == 0
    pictures = [each for each in files if each.endswith((".png", ".PNG", ".jpg"))]
    assert len(rows) == len(pictures)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("images/1a2b3c4d-my_street.jpg", "my_street"),
        ("images\\1a2b3c4d-my_street.jpg", "photos/my_street"),
        ("../../label-studio/data/media/upload/1/1a2b3c4d-my_street.jpg", "photos/my_street"),
        ("\\data\\local-files\\?d=city%2Fmy%20street.jpg", "city/my street"),
        ("/data/local-files/?d=city/my street.jpg", "my street"),
        ("https://bucket.example.com/city/my%20street.jpg?X-Amz-Signature=12ab", "city/my street"),
        ("my street.jpg", "city/my%20street"),
        ("C:\\sets\\city\\my street.jpg", "elsewhere/my street"),
    ],
)
def test_names_as_label_tools_write_them(tmp_path: Path, said: str, asked: str) -> None:
    document = {**LABEL_STUDIO_COCO, "images": [{"id": 0, "file_name": said, "width": 96, "height": 64}]}
    table = open_table(TableSource(str(write_files(tmp_path, {"result.json": document}) / "result.json")))
    record = table.find(asked)
    assert record is not None
    assert table.names([record.number]) == [said]
    assert table.find(f"{asked}2") is None


def test_labels_of_darknet_without_its_pictures(tmp_path: Path) -> None:
    """CVAT exports labels alone too: then their folder says nothing of where the pictures are."""
    write_files(tmp_path, {"obj.names": "car\n", "obj_train_data/sub/a.txt": LINE, "obj_Valid_data/b.txt": LINE})
    table = open_table(TableSource(str(tmp_path)))
    assert all(table.find(name) is not None for name in ("photos/sub/a", "sub/a", "photos/b"))
    assert table.find("photos/other/a") is None


def test_what_a_root_leaves_aside_is_said(tmp_path: Path) -> None:
    files, _ = EXPORTS["KITTI"]
    write_files(tmp_path, {**files, "training/image_3/000000.png": PNG})
    spec, said = resolve_root(SourceSpec(uri=str(tmp_path), layout="kitti"))
    assert spec.folders == ["testing/image_2", "training/image_2"]
    assert "1 other pictures are not taken for photos (training/image_3/000000.png)" in (said or "")
    (tmp_path / "training/label_2/000000.txt").unlink()
    with pytest.raises(InputError, match="not laid out as kitti: it needs image_2/ and label_2/"):
        resolve_root(SourceSpec(uri=str(tmp_path), layout="kitti"))


def test_class_names_beside_labels_are_not_called_unread(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PNG, "a.txt": LINE, "classes.txt": "car", "b.txt": "0 1"})
    outcome = run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    assert [each.examples for each in outcome.findings if each.kind == "file"] == [("b.txt",)]


@pytest.mark.parametrize(("text", "format"), [(LINE, "yolo"), (VOC, "voc"), (KITTI, "kitti")])
@pytest.mark.parametrize("member", ["txt", "boxes"])
def test_labels_that_nothing_reads_are_said(tmp_path: Path, text: str, format: str, member: str) -> None:
    """In a tar no label of these formats is read: as a caption or a column it would pass unnoticed."""
    write_tar(tmp_path / "in/0.tar", {"a": {"png": PNG, member: text.encode()}})
    said = run_job(job(tmp_path / "in", tmp_path / "out"), local=True).warnings
    role = "is taken for the caption" if member == "txt" else "passes through unchanged"
    assert [line for line in said if f"'{member}' of a looks like {format} labels, but {role}" in line]


def test_captions_beside_pictures_stay_captions(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PNG, "a.txt": "2 cars at 0.5 to 0.7 miles", "b.png": PNG, "b.txt": "1 2"})
    outcome = run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    assert {row["caption"] for row in index_rows(tmp_path / "out")} == {"2 cars at 0.5 to 0.7 miles", "1 2"}
    assert not outcome.warnings


def test_labels_of_a_second_format_in_one_folder_are_said(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a/a.png": PNG, "a/a.txt": LINE, "b/b.png": PNG, "b/b.xml": VOC})
    said = run_job(job(tmp_path / "in", tmp_path / "out"), local=True).warnings
    assert [line for line in said if "'xml' of b/b looks like voc labels" in line]
    assert not [line for line in said if "looks like yolo" in line]
