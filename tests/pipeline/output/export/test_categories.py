"""Category ids and names of odd COCO files come out as they went in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import yaml
from pycocotools.coco import COCO

from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import encoded, picture
from tests.support.jobs import job

SIZE = (96, 64)
BOX = [1, 2, 30, 20]


def made(root: Path, annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> Job:
    (root / "in").mkdir()
    (root / "in/a.png").write_bytes(encoded(picture(1, SIZE), "PNG"))
    listed = [
        {"id": number, "image_id": 5, "bbox": BOX, "area": 600, "iscrowd": 0, **each}
        for number, each in enumerate(annotations, start=1)
    ]
    images = [{"id": 5, "file_name": "C:\\sets\\a.png", "width": SIZE[0], "height": SIZE[1]}]
    (root / "labels.json").write_text(json.dumps({"images": images, "annotations": listed, "categories": categories}))
    labels = {"format": "coco", "uri": str(root / "labels.json")}
    run_job(job(root / "in", root / "out", source__labels=labels), local=True)
    store = Store(str(root / "out"))
    tree = stored_job(store)
    assert tree is not None
    return Job.from_record(tree, store)


def test_two_categories_that_share_a_name(tmp_path: Path) -> None:
    twins = [
        {"id": 4, "name": "other", "supercategory": "vehicle"},
        {"id": 9, "name": "other", "supercategory": "person"},
    ]
    output = made(tmp_path, [{"category_id": 4}, {"category_id": 9}], twins)
    export_folder(output, Store(str(tmp_path / "coco")), ExportOptions())
    coco = COCO(str(tmp_path / "coco/annotations/instances_train.json"))
    assert coco.loadCats(coco.getCatIds()) == twins
    assert [each["category_id"] for each in coco.loadAnns(coco.getAnnIds())] == [4, 9]
    export_folder(output, Store(str(tmp_path / "yolo")), ExportOptions(format="yolo"))
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"] == {0: "other", 1: "other"}
    lines = (tmp_path / "yolo/labels/train/a.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    export_folder(output, Store(str(tmp_path / "hf")), ExportOptions(format="hf"))
    loaded: Any = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [(each["category"], each["category_id"]) for each in loaded[0]["objects"]] == [("other", 4), ("other", 9)]


def test_an_id_that_is_not_declared_and_a_box_that_is_not_there(tmp_path: Path) -> None:
    triangle = [[1, 1, 30, 1, 30, 20]]
    odd = [
        {"category_id": 77},
        {"category_id": 1, "bbox": None, "segmentation": triangle},
        {"category_id": 1, "segmentation": []},
    ]
    output = made(tmp_path, odd, [{"id": 1, "name": "car"}, {"id": 2, "name": "never used"}])
    summary = export_folder(output, Store(str(tmp_path / "coco")), ExportOptions())
    coco = COCO(str(tmp_path / "coco/annotations/instances_train.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["car", "never used"]
    found = coco.loadAnns(coco.getAnnIds())
    assert [(each["category_id"], each["bbox"]) for each in found] == [(77, BOX), (1, [1, 1, 29, 19]), (1, BOX)]
    assert [what for what in summary.left_out if "77" in what]
    export_folder(output, Store(str(tmp_path / "yolo")), ExportOptions(format="yolo"))
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"] == {0: "car", 1: "never used", 2: "77"}
