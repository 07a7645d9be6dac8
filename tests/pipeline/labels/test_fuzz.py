"""Label readers fed with damaged files: each case is read, or refused in one line, and never ends in a traceback."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from methods.errors import BadSample, InputError
from pipeline.labels.files import LabelFiles
from pipeline.labels.formats import FORMATS, FormatName, parse_record, parse_sample, recognise
from pipeline.labels.geometry import Transform, align
from pipeline.labels.outside import guess_size, without_outside
from pipeline.labels.table import LabelTable, TableWriter
from pipeline.storage import StorageOptions

SIZE = (80, 60)
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 80, "height": 60, "attributes": {"weather": "clear"}}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 5, 20.5, 15], "area": 300.25, "iscrowd": 0},
        {
            "id": 2,
            "image_id": "7",
            "category_id": 1,
            "segmentation": [[10, 5, 30.5, 5, 30.5, 20]],
            "keypoints": [1, 2, 2],
        },
        {"id": 3, "image_id": 7, "category_id": 1, "segmentation": {"size": [60, 80], "counts": [10, 20, 4770]}},
        {"image_id": 7, "caption": "a street", "segments_info": [{"id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]}]},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
}
BDD: list[dict[str, Any]] = [
    {
        "name": "a.jpg",
        "attributes": {"timeofday": "daytime"},
        "size": {"width": 80, "height": 60},
        "labels": [
            {"id": "0", "category": "car", "box2d": {"x1": 1.5, "y1": 2, "x2": 30, "y2": 20}},
            {
                "category": "lane",
                "poly2d": [{"vertices": [[1, 2], [3, 4], [5, 6], [7, 8]], "types": "LCCC", "closed": False}],
            },
            {"category": "car", "rle": {"size": [60, 80], "counts": [10, 20, 4770]}},
        ],
    }
]
OLD = {"name": "a", "frames": [{"objects": [{"category": "area", "poly2d": [[0, 0, "L"], [9, 0, "L"], [9, 9, "L"]]}]}]}
POLYGONS = {"imgWidth": 80, "imgHeight": 60, "objects": [{"label": "cargroup", "polygon": [[1, 2], [30, 2], [30, 20]]}]}
XML = (
    "<annotation><size><width>80</width><height>60</height></size><object><name>car</name><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox><part><name>wheel</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>3</xmax><ymax>4</ymax></bndbox></part></object></annotation>"
)
SOURCES: tuple[tuple[FormatName, str, str], ...] = (
    ("coco", "labels.json", json.dumps(COCO)),
    ("bdd100k", "labels.json", json.dumps(BDD)),
    ("bdd100k", "labels.json", json.dumps({"frames": BDD})),
    ("bdd100k", "a.json", json.dumps(OLD)),
    ("cityscapes", "a_gtFine_polygons.json", json.dumps(POLYGONS)),
    ("voc", "a.xml", XML),
    ("yolo", "a.txt", "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2 0.9\n2 0 0 0.5 0 0.5 0.5 0 0.5\n"),
    ("yolo", "data.yaml", "names: {0: car, 1: bus}\nkpt_shape: [2, 3]\n"),
    ("kitti", "a.txt", "Car 0.25 1 -1.57 10.5 20 40.5 60 1.5 1.6 3.7 -0.65 1.71 46.7 -1.59 0.5\n"),
    ("openimages", "a.csv", "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/x,0.1,0.3,0.2,0.6,1\n"),
    ("openimages", "class-descriptions.csv", "/m/x,Car\n/m/y,Bus\n"),
)
BESIDE = {
    "data.yaml": ("a.txt", "0 0.5 0.5 0.2 0.2 0.1 0.1 2 0 0 0\n"),
    "class-descriptions.csv": ("a.csv", SOURCES[9][2]),
}
PIECES = (
    *(
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "-",
        "e",
        ".",
        " ",
        "\n",
        "\t",
        "\x00",
        "\ufeff",
        "\ud7ff",
        "é",
    ),
    *("1e999", "-1", "0", "9" * 5000, "NaN", "Infinity", '"\\ud800"', "\\", "&amp;", "&x;", "<!DOCTYPE a>", "<object>"),
    *("</object>", "<![CDATA[", "!!python/object:os.system", "*a", "&a", "2020-13-45", "1.5", "18446744073709551616"),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    1e308,
    "",
    "x",
    "7",
    [],
    {},
    [[]],
    [1, 2],
    {"id": 1},
    "\ud800",
)


def damaged(text: str, rng: random.Random) -> bytes:
    """A copy with a few things wrong: in its values where it is JSON, else in its characters or bytes."""
    if text[:1] in "{[" and rng.random() < 0.6:
        tree = json.loads(text)
        for _ in range(rng.randint(1, 3)):
            replace_one(tree, rng)
        return json.dumps(tree).encode()
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        end = min(end, at + rng.choice((0, 1, 2, 8, 200)))
        text = text[:at] + rng.choice((*PIECES, "", text[at:end] * 2)) + text[end:]
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if data and rng.random() < 0.3:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def replace_one(tree: Any, rng: random.Random) -> None:
    """Replace, remove or repeat one member somewhere in a JSON value."""
    while isinstance(tree, list | dict) and tree:
        key = rng.choice(list(tree) if isinstance(tree, dict) else list(range(len(tree))))
        inner = tree[key]
        if isinstance(inner, list | dict) and inner and rng.random() < 0.75:
            tree = inner
            continue
        how = rng.random()
        if how < 0.15:
            del tree[key]
        elif how < 0.25 and isinstance(tree, list):
            tree.append(copy.deepcopy(inner))
        else:
            tree[key] = copy.deepcopy(rng.choice(VALUES))
        return


def read_all(folder: Path, format: FormatName) -> int:
    """Everything that a job does with a label source; the number of annotations. InputError and BadSample pass."""
    files = LabelFiles.under(str(folder), StorageOptions())
    recognise_or_not(files)
    path = folder.with_suffix(".sqlite")
    writer = TableWriter(path, format)
    try:
        FORMATS[format].read(files, writer)
    finally:
        writer.close()
    table = LabelTable(path)
    count = 0
    for name in table.names(list(range(len(table)))):
        try:
            record = table.find(name)
            assert record is not None
            labels = align(parse_record(record.text, SIZE, table.info), 6, (60, 80))
            guess_size([(labels, SIZE)])
            kept = without_outside(labels, SIZE)
            count += len(Transform.crop(SIZE, (5, 5, 60, 40)).apply(kept).annotations)
        except BadSample as error:
            check_line(error)
    table.close()
    return count


def recognise_or_not(files: LabelFiles) -> None:
    try:
        recognise(files)
    except InputError as error:
        check_line(error)


def check_line(error: Exception) -> None:
    """What is said is one line."""
    if "\n" in str(error):
        raise AssertionError(repr(error))


def fuzz(folder: Path, cases: int, seed: int) -> int:
    """Run so many cases; how many of them were read."""
    rng = random.Random(seed)
    done = 0
    for case in range(cases):
        format, name, text = rng.choice(SOURCES)
        here = folder / "case"
        here.mkdir(exist_ok=True)
        for old in here.iterdir():
            old.unlink()
        here.with_suffix(".sqlite").unlink(missing_ok=True)
        data = damaged(text, rng)
        (here / name).write_bytes(data)
        if name in BESIDE:
            (here / BESIDE[name][0]).write_text(BESIDE[name][1])
        try:
            done += read_all(here, format) > 0
        except InputError as error:
            check_line(error)
        except Exception as error:
            raise AssertionError(f"case {case} of seed {seed}, {format} {name}: {data[:2000]!r}") from error
        try:
            parse_sample(data)
        except BadSample as error:
            check_line(error)
    return done


def test_the_undamaged_sources_are_read(tmp_path: Path) -> None:
    for number, (format, name, text) in enumerate(SOURCES):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        if name in BESIDE:
            (folder / BESIDE[name][0]).write_text(BESIDE[name][1])
        assert read_all(folder, format) > 0, (format, name)


def test_damaged_label_files_are_read_or_refused(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 600, seed=1) > 100


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_damaged_label_files(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 20_000, seed=2) > 3000
