"""Exports of Label Studio and CVAT, and dataset roots, as they are unpacked: each picture finds its own labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from methods.errors import InputError
from pipeline.labels import TableSource, open_table
from pipeline.run.driver import run_job
from pipeline.sources.roots import resolve_root
from pipeline.spec import LabelsSpec, SourceSpec
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
    assert "1 other picture is not taken for photos (training/image_3/000000.png)" in (said or "")
    (tmp_path / "training/label_2/000000.txt").unlink()
    with pytest.raises(InputError, match="not laid out as kitti: it needs image_2/ and label_2/"):
        resolve_root(SourceSpec(uri=str(tmp_path), layout="kitti"))


def test_a_format_that_is_said_is_not_overruled_by_a_root(tmp_path: Path) -> None:
    files, _ = EXPORTS["KITTI"]
    write_files(tmp_path, files)
    with pytest.raises(InputError, match=r"laid out with kitti labels, but source\.labels\.format says coco"):
        resolve_root(SourceSpec(uri=str(tmp_path), labels=LabelsSpec(format="coco")))
    own = LabelsSpec(format="coco", uri=str(tmp_path / "own.json"))
    spec, _ = resolve_root(SourceSpec(uri=str(tmp_path), layout="kitti", labels=own))
    assert (spec.labels.uri, spec.labels.format) == (own.uri, "coco")


def test_a_format_that_is_said_is_read_though_the_texts_do_not_look_like_it(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PNG, "a.txt": f"{LINE}\nfoo\n", "b.png": PNG, "c.png": PNG})
    spec = job(tmp_path / "in", tmp_path / "out", source__labels={"format": "yolo"})
    outcome = run_job(spec, local=True)
    assert outcome.summary.labels["annotations"] == 1
    assert any("1 annotation, or parts of them, could not be used" in line for line in outcome.warnings)


@pytest.mark.parametrize("format", ["yolo", "voc", "openimages", "coco"])
def test_a_format_that_is_said_and_nowhere_found_is_no_silence(tmp_path: Path, format: str) -> None:
    write_tar(tmp_path / "in/0.tar", {"a": {"png": PNG}})
    write_files(tmp_path / "loose", {"a.png": PNG})
    for source in ("in", "loose"):
        spec = job(tmp_path / source, tmp_path / f"out-{source}", source__labels={"format": format})
        said = f"labels.format says {format}, but no such labels were found"
        if format == "coco":
            assert any(said in line for line in run_job(spec, local=True).warnings)
        else:
            with pytest.raises(InputError, match=said):
                run_job(spec, local=True)


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
    role = "taken for the caption" if member == "txt" else "passed through unchanged"
    assert [line for line in said if f"'{member}' of a: in the form of {format} labels, but {role}" in line]


def test_labels_that_begin_late_are_counted(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{n:03d}.png": PNG for n in range(60)}
    files |= {f"{n:03d}.txt": "a street" if n < 50 else LINE for n in range(60)}
    write_files(tmp_path / "in", files)
    outcome = run_job(job(tmp_path / "in", tmp_path / "out", variants=2, output__shard_size=30), local=True)
    (found,) = [each for each in outcome.findings if each.kind == "labels"]
    assert (found.name, found.count, found.examples) == ("txt", 10, ("050", "051", "052"))
    assert found.reason.startswith("in the form of yolo labels, but taken for the caption")
    assert "| labels `txt` | 10 | `050`, `051`, `052` | in the form of yolo" in (tmp_path / "out/README.md").read_text()


def test_captions_beside_pictures_stay_captions(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.png": PNG, "a.txt": "2 cars at 0.5 to 0.7 miles", "b.png": PNG, "b.txt": "1 2"})
    outcome = run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    assert {row["caption"] for row in index_rows(tmp_path / "out")} == {"2 cars at 0.5 to 0.7 miles", "1 2"}
    assert not outcome.warnings


def test_labels_of_a_second_format_in_one_folder_are_said(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a/a.png": PNG, "a/a.txt": LINE, "b/b.png": PNG, "b/b.xml": VOC})
    said = run_job(job(tmp_path / "in", tmp_path / "out"), local=True).warnings
    assert [line for line in said if "'xml' of b/b: in the form of voc labels" in line]
    assert not [line for line in said if "form of yolo" in line]


LABELME = (
    '{"version": "5.4", "flags": {}, "shapes": [{"label": "car", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"'
    '}], "imagePath": "a.png", "imageData": null, "imageHeight": 64, "imageWidth": 96}'
)
SUPERVISELY = (
    '{"description": "", "tags": [], "size": {"height": 64, "width": 96}, "objects": [{"id": 1, "classTitle": "car", '
    '"geometryType": "rectangle", "points": {"exterior": [[1, 1], [9, 9]], "interior": []}}]}'
)


@pytest.mark.parametrize(("text", "tool"), [(LABELME, "LabelMe"), (SUPERVISELY, "Supervisely")])
def test_labels_of_a_tool_that_is_not_read_are_said(tmp_path: Path, text: str, tool: str) -> None:
    write_files(tmp_path / "in", {"a.png": PNG, "a.json": text, "b.png": PNG, "b.json": '{"camera": "left"}'})
    said = run_job(job(tmp_path / "in", tmp_path / "out"), local=True).warnings
    assert len(said) == 1
    assert f"'json' of a: in the form of {tool} labels, but passed through unchanged" in said[0]
    assert "export them as COCO and name that file with source.labels.uri" in said[0]


@pytest.mark.parametrize(
    ("place", "named", "left"), [("train/_annotations.coco.json", False, ()), ("labels.json", True, ("notes.json",))]
)
def test_label_files_among_the_pictures_are_not_called_unread(
    tmp_path: Path, place: str, named: bool, left: tuple[str, ...]
) -> None:
    """Roboflow's export has each split's COCO file beside its pictures; another may be named by its address."""
    files = {"train/frame_000000.PNG": PNG, place: json.dumps(CVAT_COCO)} | dict.fromkeys(left, "{}")
    write_files(tmp_path / "in", files)
    changes = {"source__labels__uri": str(tmp_path / "in" / place)} if named else {}
    outcome = run_job(job(tmp_path / "in", tmp_path / "out", **changes), local=True)
    assert [row["labels"] is not None for row in index_rows(tmp_path / "out")] == [True]
    assert [name for each in outcome.findings if each.kind == "file" for name in each.examples] == list(left)
