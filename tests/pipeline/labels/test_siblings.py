"""Label files in folders beside those of their pictures: which belong together, and what is never taken for a pair."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from methods.errors import BadSample
from pipeline.labels import LabelFormat, LabelTable, TableSource, open_table, parse_record
from pipeline.sources.folder import FolderSource
from pipeline.sources.label_siblings import label_siblings
from pipeline.spec import SourceSpec
from tests.support.label_files import write_files

BOX = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>25</ymax></bndbox>"
VOC = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"
YOLO = "{} 0.5 0.5 0.2 0.4\n"
KITTI = "{} 0.25 1 -1.57 10.5 20 20.5 30 1.5 1.6 3.7 -0.65 1.71 46.7 -1.59\n"
POLYGONS = '{{"imgWidth": 48, "imgHeight": 32, "objects": [{{"label": "{}", "polygon": [[1, 1], [9, 1], [9, 9]]}}]}}'
FRAME = (
    '{{"name": "{name}", "frames": [{{"timestamp": 0, "objects": '
    '[{{"category": "{}", "id": 1, "box2d": {{"x1": 5, "y1": 5, "x2": 25, "y2": 25}}}}]}}]}}'
)
TEXTS = {"bdd100k": FRAME, "voc": VOC, "yolo": YOLO, "kitti": KITTI, "cityscapes": POLYGONS}


def tree(folder: Path, pictures: Iterable[str], labels: Mapping[str, str], format: str) -> Path:
    """Empty pictures, and label files with one object of a class."""
    files = {name: TEXTS[format].format(said, name=Path(name).stem) for name, said in labels.items()}
    return write_files(folder, {**dict.fromkeys(pictures, b""), **files})


def matched(
    root: Path, format: LabelFormat = "auto", *, uri: str = "", labels: str = "", folders: Iterable[str] = ()
) -> dict[str, str | None]:
    """Key of a picture -> the class in its label file; ``None`` without one, ``several`` where that is not clear."""
    source = SourceSpec.model_validate(
        {
            "uri": str(root / uri) if uri else str(root),
            "folders": list(folders),
            "labels": {"uri": str(root / labels) if labels else str(root), "format": format},
            "layout": "none",
        }
    )
    assert source.labels.uri is not None
    plain = open_table(TableSource(source.labels.uri, format))
    siblings, _ = label_siblings(source, plain)
    table = LabelTable(plain.path, siblings)
    return {key: found(table, key) for key in FolderSource(source, 1).all_keys()}


def found(table: LabelTable, key: str) -> str | None:
    try:
        record = table.find(key)
    except BadSample as error:
        return {"ambiguous_labels": "several"}[error.reason]
    if record is None:
        return None
    (annotation,) = parse_record(record.text, (48, 32), table.info).annotations
    return annotation.category


@pytest.mark.parametrize(
    ("format", "pictures", "labels"),
    [
        ("voc", "{}/frames/a.jpg", "{}/annotations/a.xml"),
        ("voc", "{}/frames/a.jpg", "{}/Annotations/a.xml"),
        ("voc", "{}/JPEGImages/a.jpg", "{}/xmls/a.xml"),
        ("voc", "city/{}/img/a.png", "city/{}/ann/a.png.xml"),
        ("voc", "frames/{}/a.jpg", "annotations/{}/a.xml"),
        ("voc", "frames/{}/cam/a.jpg", "annotations/{}/cam/a.xml"),
        ("voc", "{}/a/footage/a.jpg", "{}/a/drawn by hand/a.xml"),
        ("yolo", "{}/images/a.jpg", "{}/labels/a.txt"),
        ("yolo", "{}/frames/a.jpg", "{}/labels/a.txt"),
        ("yolo", "{}/img/a.jpg", "{}/yolo_labels/a.txt"),
        ("yolo", "{}/frames/a.jpg", "{}/obj_train_data/a.txt"),
        ("kitti", "{}/images/a.png", "{}/labels/a.txt"),
        ("kitti", "{}/image_02/a.png", "{}/label_02/a.txt"),
        ("kitti", "image_02/{}/a.png", "label_02/{}/a.txt"),
        ("bdd100k", "{}/frames/a.jpg", "{}/labels/a.json"),
        ("bdd100k", "images/{}/clip/a.jpg", "annotations/{}/clip/a.json"),
        ("cityscapes", "{}/images/a_leftImg8bit.png", "{}/annotations/a_gtFine_polygons.json"),
        ("cityscapes", "{}/leftImg8bit/{}_a_leftImg8bit.png", "{}/gtFine/{}_a_gtFine_polygons.json"),
    ],
)
def test_each_picture_has_the_labels_of_its_own_folder(
    tmp_path: Path, format: LabelFormat, pictures: str, labels: str
) -> None:
    classes = {"x": "car", "y": "bus", "z/1": "truck"} if format != "yolo" else {"x": "1", "y": "2", "z/1": "3"}
    if "{}_a" in pictures:
        classes = {"x": "car", "y": "bus"}
    paths = {pictures.format(name, name): labels.format(name, name) for name in classes}
    said = dict(zip(paths.values(), classes.values(), strict=True))
    tree(tmp_path, paths, said, format)
    expected = {path.rpartition(".")[0]: said[label] for path, label in paths.items()}
    assert matched(tmp_path, format) == expected
    # One that is missing leaves its picture without labels, whoever else is called like it.
    gone = next(iter(paths))
    (tmp_path / paths[gone]).unlink()
    assert matched(tmp_path, format) == {**expected, gone.rpartition(".")[0]: None}


SEQUENCES = ("x", "y")


def layout(*folders: str) -> list[str]:
    return [f"{name}/{folder}/a.jpg" for folder in folders for name in SEQUENCES]


def labelled(*folders: str) -> dict[str, str]:
    return {f"{name}/{folder}/a.xml": f"{folder} of {name}" for folder in folders for name in SEQUENCES}


@pytest.mark.parametrize(
    ("pictures", "labels", "where"),
    [
        pytest.param(layout("train"), labelled("val"), {}, id="parts of the set"),
        pytest.param(["train/a.jpg"], {"val/a.xml": "val"}, {}, id="parts of a flat set"),
        pytest.param(["seq_1/a.jpg"], {"seq_2/a.xml": "2"}, {}, id="sequences"),
        pytest.param(["aachen/a.jpg"], {"bochum/a.xml": "bochum"}, {}, id="cities"),
        pytest.param(layout("cam1"), labelled("cam2"), {}, id="cameras"),
        pytest.param(layout("left", "right"), labelled("annotations"), {}, id="two pictures of one label file"),
        pytest.param(
            layout("left", "right"), labelled("annotations"), {"uri": "*/left/*.jpg"}, id="another picture of it beside"
        ),
        pytest.param(layout("day", "night"), labelled("night"), {"uri": "*/day/*.jpg"}, id="labels of others"),
        pytest.param(
            layout("day", "night"), labelled("night"), {"uri": "*/day/*.jpg", "labels": "*/night/*.xml"}, id="globs"
        ),
        pytest.param(layout("images", "frames"), labelled("labels"), {"uri": "*/frames/*.jpg"}, id="two usual names"),
        pytest.param(layout("image_3"), labelled("label_2"), {}, id="the other camera"),
        pytest.param(layout("frames"), labelled("annotations", "predictions"), {}, id="two label files"),
        pytest.param(["x/frames/a.jpg"], {"y/annotations/a.xml": "y"}, {}, id="shuffled"),
        pytest.param(["x/frames/a.jpg"], {"x/1/annotations/a.xml": "1"}, {}, id="deeper"),
        pytest.param(["x/1/frames/a.jpg"], {"y/1/annotations/a.xml": "y"}, {}, id="two names differ"),
        pytest.param(["x/foo/a.jpg"], {"x/bar/a.xml": "x"}, {}, id="unknown names once"),
    ],
)
def test_what_may_be_the_labels_of_another_picture_is_none(
    tmp_path: Path, pictures: list[str], labels: dict[str, str], where: dict[str, str]
) -> None:
    tree(tmp_path, pictures, labels, "voc")
    assert set(matched(tmp_path, "voc", **where).values()) == {None}


def test_a_source_and_a_pattern_may_choose_among_folders(tmp_path: Path) -> None:
    """Depth maps and predictions beside: the spec says which are meant."""
    tree(tmp_path, layout("images", "depth"), labelled("annotations", "predictions"), "voc")
    assert set(matched(tmp_path, "voc").values()) == {None}
    for name in ("annotations", "xmls"):
        tree(tmp_path, [], labelled(name), "voc")
        found = matched(tmp_path, "voc", uri="*/images/*.jpg", labels=f"*/{name}/*.xml")
        assert found == {f"{each}/images/a": f"{name} of {each}" for each in SEQUENCES}
    found = matched(tmp_path, "voc", folders=["x/images"], labels="*/xmls/*.xml")
    assert found == {"x/images/a": "xmls of x"}


def test_labels_in_a_tree_of_their_own(tmp_path: Path) -> None:
    tree(tmp_path / "pictures", layout("frames"), {}, "voc")
    tree(tmp_path / "labels", [], labelled("annotations"), "voc")
    found = matched(tmp_path, "voc", uri="pictures", labels="labels")
    assert found == {f"{each}/frames/a": f"annotations of {each}" for each in SEQUENCES}


def test_other_files_do_not_hide_what_belongs_together(tmp_path: Path) -> None:
    """A picture or a text that is called like nothing of the other kind says nothing of where those are."""
    tree(tmp_path, [*layout("frames"), "overview.jpg", "x/thumbnail.png"], labelled("annotations"), "voc")
    tree(tmp_path, [], {"x/notes.xml": "notes", "y/a/b/c.xml": "c"}, "voc")
    expected = {f"{each}/frames/a": f"annotations of {each}" for each in SEQUENCES}
    assert matched(tmp_path, "voc") == {**expected, "overview": None, "x/thumbnail": None}


def test_two_label_files_of_one_picture_are_said(tmp_path: Path) -> None:
    tree(tmp_path, layout("frames"), {**labelled("annotations"), "x/annotations/a.jpg.xml": "again"}, "voc")
    assert matched(tmp_path, "voc") == {"x/frames/a": "several", "y/frames/a": "annotations of y"}


def test_labels_of_darknet_side_by_side_are_not_put_together(tmp_path: Path) -> None:
    said = {f"{name}/obj_train_data/a.txt": number for name, number in (("x", "1"), ("y", "2"))}
    tree(tmp_path / "labels", [], said, "yolo")
    tree(tmp_path / "pictures", ["x/photos/a.jpg", "y/photos/a.jpg"], {}, "yolo")
    assert matched(tmp_path, "yolo", uri="pictures", labels="labels") == {"x/photos/a": None, "y/photos/a": None}


STEMS = ("0001", "0002", "a.b")
PLACES = ("x", "y", "north/x", "north/y", "x/x")
NAMES: dict[LabelFormat, tuple[tuple[str, str], ...]] = {
    "voc": (("frames", "annotations"), ("images", "Annotations"), ("JPEGImages", "xml"), ("rgb", "frames_of_people")),
    "yolo": (("images", "labels"), ("frames", "labels"), ("img", "txt"), ("labels", "images")),
    "bdd100k": (("images", "labels"), ("frames", "annotations")),
    "kitti": (("image_2", "label_2"), ("images", "labels"), ("left", "right")),
}


@st.composite
def sets(draw: st.DrawFn) -> tuple[LabelFormat, str, dict[str, str], set[str], set[str]]:
    """(format, ending, picture -> its label file, pictures that are there, label files that are there)."""
    format = draw(st.sampled_from(sorted(NAMES)))
    pictures, labels = draw(st.sampled_from(NAMES[format]))
    order = draw(st.sampled_from(("{place}/{name}/{stem}", "{name}/{place}/{stem}")))
    chosen = draw(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(STEMS)), min_size=1, unique=True))
    ending = {"voc": ".xml", "bdd100k": ".json"}.get(format, ".txt")
    pairs = {
        order.format(name=pictures, place=place, stem=stem): order.format(name=labels, place=place, stem=stem) + ending
        for place, stem in chosen
    }
    there = draw(st.lists(st.sampled_from(("both", "picture", "label")), min_size=len(pairs), max_size=len(pairs)))
    with_picture = {each for each, has in zip(pairs, there, strict=True) if has != "label"}
    with_label = {label for label, has in zip(pairs.values(), there, strict=True) if has != "picture"}
    return format, pictures, pairs, with_picture, with_label


@settings(max_examples=150)
@given(made=sets())
def test_pairs_are_exactly_those_of_the_same_folder_and_stem(made: Any) -> None:
    format, pictures, pairs, there, labels = made
    whole = {key for key in there if pairs[key] in labels}
    assume(there and labels)
    # Of VOC's own folder the names above it are no names of pictures, as long as nothing else says so; BDD100K's files
    # are called by the frame inside.
    assume(whole or not any("Annotations" in label or label.endswith(".json") for label in labels))
    numbers = {label: str(number) for number, label in enumerate(sorted(pairs.values()), start=1)}
    said = numbers if format == "yolo" else {label: f"c{number}" for label, number in numbers.items()}
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder), [f"{key}.jpg" for key in there], {label: said[label] for label in labels}, format)
        result = matched(root, format)
    right = {key: said[pairs[key]] if key in whole else None for key in there}
    usual = pictures not in ("left", "rgb", "labels")
    assert all(each in (None, right[key]) for key, each in result.items())
    if usual and whole:
        assert result == right
    classes = [each for each in result.values() if each is not None]
    assert len(classes) == len({*classes})


paths = st.lists(st.sampled_from(("x", "y", "images", "labels", "train", "val", "img", "ann")), max_size=3)
files = st.sets(st.tuples(paths.map("/".join), st.sampled_from(STEMS)), min_size=1, max_size=8)


@settings(max_examples=150)
@given(pictures=files, labels=files)
@example(pictures={("x/images", "0001"), ("y/images", "0001")}, labels={("x/ann", "0001"), ("y/ann", "0001")})
def test_in_any_tree_a_pair_differs_in_one_name_and_is_alone(
    pictures: set[tuple[str, str]], labels: set[tuple[str, str]]
) -> None:
    """What is found and is not by names alone are pairs of files, each in one, with one name between their folders."""
    numbers = {"/".join(filter(None, each)): f"c{number}" for number, each in enumerate(sorted(labels))}
    keys = ["/".join(filter(None, each)) for each in pictures]
    with tempfile.TemporaryDirectory() as folder:
        root = tree(
            Path(folder), [f"{key}.jpg" for key in keys], {f"{name}.xml": said for name, said in numbers.items()}, "voc"
        )
        plain = open_table(TableSource(str(root), "voc"))
        before = {key: found(plain, key) for key in keys}
        after = matched(root, "voc")
    by_class = {said: name for name, said in numbers.items()}
    fresh = {key: each for key, each in after.items() if each is not None and each != before[key]}
    assert len(fresh) == len({*fresh.values()})
    for key, each in fresh.items():
        assert each != "several"
        ours, theirs = key.split("/"), by_class[each].split("/")
        assert len(ours) == len(theirs)
        assert sum(a != b for a, b in zip(ours, theirs, strict=True)) == 1
    assert all(after[key] in (before[key], fresh.get(key)) for key in keys)
    assert all(before[key] in (None, "several") for key in fresh)
