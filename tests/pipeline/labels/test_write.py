"""Labels in Arrow, in COCO and in BDD100K again: what went in comes out, moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO as PyCoco

from pipeline import labels
from pipeline.labels import Annotation, Labels, Transform, rle
from pipeline.labels.arrow import LABELS_TYPE, from_arrow_value, to_arrow_value
from pipeline.labels.categories import Categories
from pipeline.labels.export import to_bdd100k
from tests.support.coco_documents import to_coco
from tests.support.label_files import labels_of, table_of

MASK = np.zeros((60, 80), np.uint8)
MASK[5:20, 10:30] = 1

RICH = Labels(
    80,
    60,
    [
        Annotation("car", 3, (10.25, 5, 20.5, 15), [[10, 5, 30.5, 5, 30.5, 20.125]], area=300.25, id="17"),
        Annotation("person", 1, rle=rle.encode(MASK), area=300.0, iscrowd=True, attributes={"score": 0.5}),
        Annotation(
            "lane/white",
            segmentation=[[0.0, 1.0, 2.0, 3.0]],
            id="ab-1",
            attributes={
                "poly2d": [{"types": "LL", "closed": False}],
                "laneStyle": "dashed",
                "nested": {"k": [None, "ü"]},
            },
        ),
        Annotation("", attributes={}),
    ],
    {"weather": "rainy", "note": 'quotes " and ü'},
    raw='{"original": true}',
)
EMPTY = Labels(raw="{}")

BDD: list[dict[str, Any]] = [
    {
        "name": "one.jpg",
        "attributes": {"weather": "clear", "timeofday": "daytime"},
        "timestamp": 10000,
        "labels": [
            {
                "id": "8",
                "category": "car",
                "attributes": {"occluded": True},
                "manualShape": True,
                "box2d": {"x1": 0.1, "y1": 0.2, "x2": 30.3, "y2": 20.7, "kept": "too"},
            },
            {
                "id": "9",
                "category": "drivable area",
                "poly2d": [{"vertices": [[10, 10], [40, 10], [40, 30]], "types": "LLL", "closed": True}],
            },
            {"id": "9", "category": "sign", "box2d": {"x1": 70, "y1": 50, "x2": 80, "y2": 60}},
        ],
    },
    {"name": "two.jpg", "attributes": {}, "labels": None},
]


def written(tmp_path: Path) -> str:
    column = pa.array([to_arrow_value(RICH), None, to_arrow_value(EMPTY)], type=LABELS_TYPE)
    path = str(tmp_path / "labels.parquet")
    pq.write_table(pa.table({"key": ["a", "b", "c"], "labels": column, "labels_raw": ["x", None, "{}"]}), path)
    return path


def same(value: Any, expected: Labels) -> bool:
    return from_arrow_value(value, expected.raw) == expected


def test_arrow_round_trip(tmp_path: Path) -> None:
    cells = pq.read_table(written(tmp_path)).column("labels").to_pylist()
    assert same(cells[0], RICH)
    assert cells[1] is None
    assert same(cells[2], EMPTY)


def test_pandas_duckdb_and_datasets_read_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    frame = pd.read_parquet(path)
    assert same(frame["labels"][0], RICH)
    assert same(frame["labels"][2], EMPTY)
    rows = duckdb.execute(f"select labels from '{path}' order by key").fetchall()
    assert same(rows[0][0], RICH)
    cars = f"select count(*) from (select unnest(labels.annotations) as a from '{path}') where a.category = 'car'"
    assert duckdb.execute(cars).fetchall() == [(1,)]


def test_hugging_face_datasets_reads_it(tmp_path: Path) -> None:
    from datasets import Dataset

    table = Dataset.from_parquet(written(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert same(table[0]["labels"], RICH)  # type: ignore[index]


def coco_file(tmp_path: Path, document: dict[str, Any]) -> PyCoco:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    return PyCoco(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
def test_coco_export_loads_in_pycocotools(tmp_path: Path) -> None:
    rows = [("k/1", "data/1.jpg", 80, 60, RICH), ("k/2", "data/2.jpg", 80, 60, EMPTY)]
    document = to_coco(rows)
    assert document["categories"] == [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
    declared = [{"id": 90, "name": "person", "supercategory": "human"}]
    kept = to_coco(rows, categories=declared)
    assert kept["categories"] == declared
    assert [each["category_id"] for each in kept["annotations"]] == [3, 1]  # as the source says, declared or not
    coco = coco_file(tmp_path, document)
    assert len(coco.getImgIds()) == 2
    car = coco.loadAnns(coco.getAnnIds(catIds=[3]))[0]
    assert car["bbox"] == [10.25, 5, 20.5, 15]
    group = coco.loadAnns(coco.getAnnIds(catIds=[1]))[0]
    assert (group["bbox"], group["iscrowd"]) == ([10, 5, 20, 15], 1)  # the box of its mask
    assert coco.annToMask(car).sum() == pytest.approx(20 * 15 / 2, rel=0.2)
    assert coco.loadImgs(car["image_id"])[0]["file_name"] == "data/1.jpg"


def test_two_categories_of_one_name_stay_two() -> None:
    declared = [{"id": 4, "name": "other", "supercategory": "a"}, {"id": 9, "name": "other", "supercategory": "b"}]
    boxes = [Annotation("other", number, bbox=(0, 0, 1, 1)) for number in (4, 9, 77)]
    named = Annotation("new", bbox=(0, 0, 1, 1))
    document = to_coco([("k", "k.png", 9, 9, Labels(9, 9, [*boxes, named]))], declared)
    assert [each["category_id"] for each in document["annotations"]] == [4, 9, 77, 78]
    assert document["categories"] == [*declared, {"id": 78, "name": "new"}]
    classes = Categories(declared, [(each.category_id, each.category) for each in [*boxes, named]])
    assert [classes.index_of(each) for each in [*boxes, named]] == [0, 1, 2, 3]
    assert (classes.names, classes.undeclared) == (["other", "other", "other", "new"], [77])


def test_coco_masks_and_lines() -> None:
    boxed = Labels(80, 60, [Annotation("a", bbox=(10, 5, 20, 15), rle=rle.encode(MASK)), RICH.annotations[2]])
    document = to_coco([("k", "1.jpg", 80, 60, boxed)])
    assert len(document["annotations"]) == 1  # the lane has no area: COCO cannot hold it
    assert document["annotations"][0]["segmentation"] == rle.encode(MASK)
    assert document["annotations"][0]["area"] == 300


def test_coco_round_trip(tmp_path: Path) -> None:
    source = {
        "images": [{"id": 5, "file_name": "x.jpg", "width": 80, "height": 60}],
        "annotations": [
            {
                "id": 1,
                "image_id": 5,
                "category_id": 44,
                "bbox": [1, 2, 3, 4],
                "area": 7,
                "iscrowd": 0,
                "segmentation": [[1, 2, 4, 2, 4, 6]],
                "keypoints": [1, 2, 2],
                "num_keypoints": 1,
                "attributes": {"hidden": False},
            }
        ],
        "categories": [{"id": 44, "name": "bottle", "keypoints": ["cap"]}],
    }
    table = table_of(tmp_path, source)
    found = labels_of(table, "x")
    assert found is not None
    document = to_coco([("x", "x.jpg", 80, 60, found)], table.categories)
    assert document["categories"] == source["categories"]
    again, before = document["annotations"][0], source["annotations"][0]
    assert {key: again[key] for key in before if key not in ("id", "image_id")} == {
        key: before[key] for key in before if key not in ("id", "image_id")
    }
    moved = Transform.resize((80, 60), (160, 60)).apply(found)
    coco = coco_file(tmp_path, to_coco([("x", "x.jpg", 160, 60, moved)], table.categories))
    loaded: Any = coco.loadAnns(coco.getAnnIds())[0]
    assert loaded["keypoints"] == [2, 2, 2]


def test_coco_ids_are_unique_and_do_not_depend_on_the_rest() -> None:
    def one(key: str) -> tuple[str, str, int, int, Labels]:
        return key, f"{key}.jpg", 9, 9, Labels(annotations=[Annotation("x", bbox=(0, 0, 1, 1))] * 3)

    all_rows = to_coco(one(str(number)) for number in range(500))
    ids = [each["id"] for each in all_rows["annotations"]]
    assert len(set(ids)) == 1500
    assert all(0 < number < 2**53 for number in ids)
    alone = to_coco([one("77")])
    assert alone["images"][0] in all_rows["images"]
    assert all(each in all_rows["annotations"] for each in alone["annotations"])


def bdd_rows(tmp_path: Path, transform: Transform | None = None) -> list[tuple[str, str, int, int, Labels]]:
    table = table_of(tmp_path, BDD)
    rows = []
    for frame in BDD:
        found = labels_of(table, frame["name"])
        assert found is not None
        moved = transform.apply(found) if transform else found
        stored = from_arrow_value(to_arrow_value(moved), found.raw)  # what an export reads back from the index
        width, height = transform.target if transform else (80, 60)
        rows.append((frame["name"][:3], frame["name"], width, height, stored))
    return rows


def test_unmoved_bdd100k_comes_back_as_it_was(tmp_path: Path) -> None:
    assert to_bdd100k(bdd_rows(tmp_path)) == BDD


def test_moved_bdd100k_keeps_everything_else(tmp_path: Path) -> None:
    one, two = to_bdd100k(bdd_rows(tmp_path, Transform.resize((80, 60), (160, 180))))
    assert two == BDD[1]
    car, area, sign = one["labels"]
    assert car["box2d"].pop("kept") == "too"
    assert car["box2d"] == pytest.approx({"x1": 0.2, "y1": 0.6, "x2": 60.6, "y2": 62.1})
    assert car["manualShape"] is True
    assert car["attributes"] == {"occluded": True}
    assert area["poly2d"] == [{"vertices": [[20, 30], [80, 30], [80, 90]], "types": "LLL", "closed": True}]
    assert sign["box2d"] == {"x1": 140, "y1": 150, "x2": 160, "y2": 180}
    assert one["timestamp"] == 10000


def test_cropped_bdd100k_leaves_out_what_vanished(tmp_path: Path) -> None:
    one, _ = to_bdd100k(bdd_rows(tmp_path, Transform.crop((80, 60), (35, 0, 80, 60))))
    assert [(each["id"], each["category"]) for each in one["labels"]] == [("9", "drivable area"), ("9", "sign")]
    assert one["labels"][1]["box2d"] == {"x1": 35, "y1": 50, "x2": 45, "y2": 60}


def test_the_layout_of_2018_is_kept() -> None:
    old = {
        "name": "x",
        "frames": [
            {
                "timestamp": 10000,
                "objects": [
                    {"category": "car", "id": 1, "box2d": {"x1": 0, "y1": 0, "x2": 8, "y2": 6}},
                    {"category": "area/drivable", "id": 2, "poly2d": [[0, 0, "L"], [9, 0, "L"], [9, 9, "L"]]},
                ],
            }
        ],
        "attributes": {"weather": "rainy"},
    }
    found = labels.parse_sample(json.dumps(old))
    assert to_bdd100k([("x", "x", 80, 60, found)]) == [old]
    moved = Transform.resize((80, 60), (160, 60)).apply(found)
    frame = to_bdd100k([("x", "y.jpg", 160, 60, moved)])[0]
    assert frame["name"] == "y.jpg"
    assert frame["frames"][0]["objects"][0]["box2d"]["x2"] == 16
    assert frame["frames"][0]["objects"][1]["poly2d"] == [[0, 0, "L"], [18, 0, "L"], [18, 9, "L"]]


def test_coco_labels_become_bdd100k_frames() -> None:
    frame = to_bdd100k([("k", "k.jpg", 80, 60, Labels(80, 60, RICH.annotations[:1], {"weather": "fog"}))])[0]
    assert frame["attributes"] == {"weather": "fog"}
    assert frame["labels"][0]["box2d"] == {"x1": 10.25, "y1": 5, "x2": 30.75, "y2": 20}
    again = labels.parse_sample(json.dumps(frame))
    assert (again.width, again.height) == (80, 60)
    assert again.annotations[0].segmentation == RICH.annotations[0].segmentation
