"""Labels in forms that are not read: tables of boxes, label maps among pictures. They are said, once and counted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from methods.errors import InputError
from pipeline.labels.box_table import is_box_table
from pipeline.run.driver import run_job
from pipeline.run.label_check import check_labels
from pipeline.run.resolving import resolve
from pipeline.sources import open_source
from pipeline.sources.folder import FolderSource
from pipeline.spec import LabelsSpec, SourceSpec
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import job as make_job
from tests.support.label_files import write_files

PHOTO, MAP = encoded(picture(1)), label_map(1)
TENSORFLOW = (
    "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,48,32,car,1,2,30,20\na.jpg,48,32,person,40,2,44,20\n"
)


VOC = "<annotation><object><name>car</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"
COCO = '{"images": [], "annotations": [], "categories": []}'


@pytest.mark.parametrize(
    ("labels", "more", "unread"),
    [
        ({}, {}, ["ann"]),
        ({"uri": ""}, {}, []),
        ({"uri": "", "format": "voc"}, {}, []),
        ({"uri": "", "format": "kitti"}, {}, ["ann"]),
        ({"uri": ""}, {"others/a.txt": "0 0.5 0.5 0.2 0.2\n"}, ["ann", "others"]),
        # which of the two is read is not known yet
        ({"uri": ""}, {"all.json": COCO}, ["ann"]),
        ({"uri": "/elsewhere"}, {}, ["ann"]),
    ],
)
def test_labels_in_the_place_that_is_named_are_not_called_unread(
    tmp_path: Path, labels: Mapping[str, str], more: Mapping[str, str], unread: list[str]
) -> None:
    write_files(tmp_path, {"img/a.jpg": PHOTO, "ann/a.xml": VOC, **more})
    given = {**labels, **({"uri": f"{tmp_path}{labels['uri']}"} if "uri" in labels else {})}
    spec = SourceSpec(uri=str(tmp_path), labels=LabelsSpec.model_validate(given))
    findings = FolderSource(spec, 64).survey().findings
    assert [each.name for each in findings if each.kind == "labels"] == unread


def palette() -> bytes:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8), "P")
    image.putpalette([each for number in range(48) for each in (number, 0, 255 - number)])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def said(root: Path, files: Mapping[str, bytes | str]) -> list[tuple[str, int, str]]:
    """(name, count, reason) of what is found to be labels."""
    write_files(root, files)
    findings = FolderSource(SourceSpec(uri=str(root)), 64).survey().findings
    return [(each.name, each.count, each.reason) for each in findings if each.kind == "labels"]


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (TENSORFLOW, True),
        ("image_id;x_min;y_min;x_max;y_max;label\n", True),
        ("ImageID\tbbox_x\tbbox_y\tbbox_width\tbbox_height\n", True),
        ("filename,file_size,region_count,region_shape_attributes\n", True),
        ("img/a.jpg,1,2,30,20,car\nimg/a.jpg,3,3,9,9,person\n", True),
        ("\ufefffile,XMin,YMin,XMax,YMax", True),
        ("file_name,text\na.jpg,a street\n", False),
        ("file,width,height,left\n", False),
        ("a.jpg,1,2,3\n", False),
        ("a.jpg,1,2,30,a street,car\n", False),
        ('"\n', False),
        ("", False),
    ],
)
def test_tables_of_boxes_are_distinguished_from_others(head: str, is_one: bool) -> None:
    assert is_box_table(head) == is_box_table(head.encode()) == is_one


def test_a_table_of_boxes_beside_pictures_is_said(tmp_path: Path) -> None:
    (found,) = said(tmp_path, {"a.jpg": PHOTO, "labels.csv": TENSORFLOW, "times.csv": "file,time\na.jpg,3\n"})
    assert found[:2] == (".csv", 1)
    assert "a row for each object, which is not read: convert it to COCO" in found[2]


def test_a_table_of_boxes_named_as_labels_is_refused_as_one(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"a.jpg": PHOTO})
    write_files(tmp_path, {"labels.csv": TENSORFLOW})
    spec = make_job(tmp_path / "in", tmp_path / "out", source__labels__uri=str(tmp_path / "labels.csv"))
    with pytest.raises(InputError, match=r"a row for each object, which is not read: convert it to COCO") as error:
        run_job(spec, local=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("photos", "maps", "name", "words"),
    [
        ("images/training/{}.jpg", "annotations/training/{}.png", "annotations/training", "in 'images/training'"),
        ("images/{}.jpg", "masks/{}_mask.png", "masks", "in 'images'"),
        ("{}.jpg", "{}_seg.png", ".png", "beside them"),
    ],
)
@pytest.mark.parametrize("data", [MAP, palette()], ids=["grey", "palette"])
def test_label_maps_that_are_called_like_photos_are_said(
    tmp_path: Path, photos: str, maps: str, name: str, words: str, data: bytes
) -> None:
    files = {pattern.format(n): each for n in ("x", "y", "z") for pattern, each in ((photos, PHOTO), (maps, data))}
    (found,) = said(tmp_path, files)
    assert found[:2] == (name, 3)
    assert found[2].startswith("in the form of label maps of")
    assert words in found[2]


@pytest.mark.parametrize(
    "files",
    [
        {"left/a.png": encoded(picture(1), "PNG"), "right/a.png": encoded(picture(2), "PNG")},
        {"left/a.png": MAP, "right/a.png": MAP},
        {"images/a.jpg": PHOTO, "other/b.png": MAP},
        # one of them has colours: no folder of label maps
        {"i/a.jpg": PHOTO, "o/a.png": MAP, "i/b.jpg": PHOTO, "o/b.png": encoded(picture(2), "PNG")},
        {"a.jpg": PHOTO, "a.seg.png": MAP},
    ],
)
def test_other_pictures_of_one_name_are_no_label_maps(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert said(tmp_path, files) == []


LABELME = '{"version": "5.4", "shapes": [{"label": "car", "points": [[1, 1], [9, 9]]}], "imagePath": "a.jpg"}'
SUPERVISELY = '{"size": {"height": 32, "width": 48}, "objects": [{"id": 1, "classTitle": "car"}]}'
VIA = '{"a.jpg1234": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}}'
FRAME = '{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 9, "y2": 9}}]}'
POLYGONS = '{"imgHeight": 32, "imgWidth": 48, "objects": [{"label": "car", "polygon": [[1, 1], [9, 1], [9, 9]]}]}'
COCO = '{"info": {}, "images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}'
VOC = "<?xml version='1.0'?>\n<annotation><object/></annotation>"


@pytest.mark.parametrize(
    ("place", "text", "format", "helps"),
    [
        ("ann/{}.json", LABELME, "LabelMe", "export them as COCO"),
        ("ann/{}.jpg.json", SUPERVISELY, "Supervisely", "export them as COCO"),
        ("ann/{}.json", VIA, "VGG Image Annotator", "export them as COCO"),
        ("ann/{}.json", FRAME, "bdd100k", "name their folder"),
        ("ann/{}.json", POLYGONS, "cityscapes", "name their folder"),
        ("ann/deep/{}.xml", VOC, "voc", "name their folder"),
        ("ann/{}.txt", "0 0.5 0.5 0.2 0.2\n", "yolo", "name their folder"),
    ],
)
def test_labels_in_another_folder_are_named_by_their_format(
    tmp_path: Path, place: str, text: str, format: str, helps: str
) -> None:
    """An empty one is a picture without objects; what belongs to nothing is said beside them."""
    files = {f"img/{n}.jpg": PHOTO for n in ("x", "y", "z")} | {"meta.json": '{"classes": []}'}
    files |= {place.format("x"): text, place.format("y"): text, place.format("z"): ""}
    findings = FolderSource(SourceSpec(uri=str(write_files(tmp_path, files))), 64).survey().findings
    (found,) = [each for each in findings if each.kind == "labels"]
    assert (found.name, found.count) == (place.rpartition("/")[0], 3)
    assert found.reason.startswith(f"in the form of {format} labels, but not read: {helps}")
    assert [each.examples for each in findings if each.kind == "file"] == [("meta.json",)]


@pytest.mark.parametrize(
    "files",
    [
        {"ann/a.json": '{"camera": "left", "bbox": [1, 2, 3, 4]}'},
        {"ann/a.json": '{"labels": ["car"], "category": "street"}', "ann/b.json": "[1, 2]"},
        {"ann/a.txt": "a street with 2 cars", "ann/b.txt": "0 0.5 0.5 0.2 0.2"},
        {"ann/c.txt": "0 0.5 0.5 0.2 0.2"},
        {"ann/a.json": "not JSON", "ann/a.xml": "<html/>"},
    ],
)
def test_other_texts_in_other_folders_are_no_labels(tmp_path: Path, files: dict[str, str]) -> None:
    assert said(tmp_path, {"img/a.jpg": PHOTO, "img/b.jpg": PHOTO, **files}) == []


@pytest.mark.parametrize(
    ("labels", "unread"),
    [
        ({}, {"ann", "coco"}),
        ({"uri": "ann"}, {"coco"}),
        ({"uri": "ann/*.json"}, {"coco"}),
        ({"uri": "ann", "format": "bdd100k"}, {"coco"}),
        ({"uri": "coco/all.json"}, {"ann"}),
    ],
)
def test_labels_that_are_read_are_not_called_unread(tmp_path: Path, labels: dict[str, str], unread: set[str]) -> None:
    write_files(tmp_path, {"img/a.jpg": PHOTO, "ann/a.json": FRAME, "coco/all.json": COCO})
    named = {**labels, "uri": str(tmp_path / labels["uri"])} if labels else {}
    spec = SourceSpec(uri=str(tmp_path), labels=LabelsSpec.model_validate(named))
    findings = FolderSource(spec, 64).survey().findings
    assert {each.name for each in findings if each.kind == "labels"} == unread
    assert not [each for each in findings if each.kind == "file"]


def test_a_label_file_beside_tars_is_said_unless_it_is_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/0.tar", {"a": {"jpg": PHOTO}})
    write_files(tmp_path / "in", {"labels.json": COCO, "meta.json": "{}"})
    for labels, count in (({}, 1), ({"uri": str(tmp_path / "in/labels.json")}, 0)):
        spec = SourceSpec(uri=str(tmp_path / "in"), labels=LabelsSpec.model_validate(labels))
        found = [each for each in open_source(spec, "webdataset", 64).survey().findings if each.kind == "labels"]
        assert [(each.name, "in the form of coco labels" in each.reason) for each in found] == [(".json", True)] * count


@pytest.mark.parametrize(
    ("member", "text", "words"),
    [
        ("json", LABELME, "in the form of LabelMe labels, but passed through unchanged"),
        ("via", VIA, "in the form of VGG Image Annotator labels, but passed through unchanged"),
        (
            "ann.json",
            FRAME,
            "in the form of bdd100k labels, but passed through unchanged: boxes are not read and will not ",
        ),
        ("txt", "ann/a.txt", "only a name of files that are not opened, taken for the caption"),
        ("ann.txt", "ann/a.json", "only a name of files that are not opened, passed through unchanged"),
        ("place", "ann/a.json", None),
        ("json", '{"bbox": [1, 2, 3, 4], "type": "Feature"}', None),
    ],
)
def test_labels_among_the_members_of_a_tar_are_said(tmp_path: Path, member: str, text: str, words: str | None) -> None:
    write_tar(tmp_path / "in/0.tar", {"a": {"jpg": PHOTO, member: text.encode(), "cls": b"1"}})
    job, plan = resolve(make_job(tmp_path / "in", tmp_path / "out"))
    lines = check_labels(job, plan)
    assert [f"'{member}' of a: {words}" in line for line in lines] == [True] * (words is not None)


def test_a_column_that_names_label_files_is_said(tmp_path: Path) -> None:
    write_files(tmp_path, {"img/a.jpg": PHOTO, "list.csv": "image,labels,city\nimg/a.jpg,ann/a.json,Ulm\n"})
    job, plan = resolve(make_job(tmp_path / "list.csv", tmp_path / "out"))
    (line,) = check_labels(job, plan)
    assert "'labels' of img/a: only a name of files that are not opened" in line
    assert "source.labels.uri" in line


def test_the_run_says_it(tmp_path: Path) -> None:
    write_files(tmp_path / "in", {"images/a.jpg": PHOTO, "annotations/a.png": MAP})
    outcome = run_job(make_job(tmp_path / "in", tmp_path / "out"), local=True)
    assert [each.name for each in outcome.findings] == ["annotations"]
    assert "(annotations/a.png): in the form of label maps" in (tmp_path / "out" / "report" / "index.html").read_text()
