"""Exports open in the programs that train on them, with every object where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from supervision import DetectionDataset
from torch.utils.data import DataLoader
from torchvision.datasets import Cityscapes, CocoDetection

from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.run import ExportOptions, ExportSummary, export_folder
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.jobs import job
from tests.support.labelled import CATEGORIES, HEIGHT, WIDTH, coco_document, ring, write_labelled

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SOURCE = coco_document()


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of the labelled dataset; the method turns colours, so that labels stay where they are."""
    root = tmp_path_factory.mktemp("made")
    folder, labels = write_labelled(root)
    spec = job(
        folder,
        root / "out",
        source__labels={"format": "coco", "uri": str(labels)},
        output__format=request.param,
        output__shard_size=2,
        metrics=["psnr"],
    )
    run_job(spec, local=True)
    return root / "out"


def export(output: Path, target: Path, **options: Any) -> ExportSummary:
    store = Store(str(output))
    tree = stored_job(store)
    assert tree is not None
    return export_folder(Job.from_record(tree, store), Store(str(target)), ExportOptions(**options))


def boxes_by_name() -> dict[str, list[list[float]]]:
    names = {image["id"]: image["file_name"] for image in SOURCE["images"]}
    found: dict[str, list[list[float]]] = {Path(name).stem: [] for name in names.values()}
    for each in SOURCE["annotations"]:
        found[Path(names[each["image_id"]]).stem].append(each["bbox"])
    return found


def test_coco_is_the_source_with_other_pictures(output: Path, tmp_path: Path) -> None:
    summary = export(output, tmp_path / "e", format="coco", image_format="source")
    assert (summary.pictures, summary.annotations, summary.left_out) == (6, 7, {})
    document = json.loads((tmp_path / "e/annotations/instances_train.json").read_text())
    assert document["categories"] == CATEGORIES
    names = {image["id"]: image["file_name"] for image in document["images"]}
    assert sorted(names.values()) == sorted(image["file_name"] for image in SOURCE["images"])
    theirs = {image["id"]: image["file_name"] for image in SOURCE["images"]}

    def plain(each: dict[str, Any], names: dict[int, str]) -> str:
        kept = {name: value for name, value in each.items() if name not in ("id", "image_id")}
        return json.dumps([names[each["image_id"]], kept], sort_keys=True)

    numbers = json.loads(json.dumps(SOURCE["annotations"]), parse_int=float)
    assert sorted(plain(each, names) for each in json.loads(json.dumps(document["annotations"]), parse_int=float)) == (
        sorted(plain(each, theirs) for each in numbers)
    )
    for name in names.values():
        picture = Image.open(tmp_path / "e/images/train" / name)
        assert picture.size == (WIDTH, HEIGHT)
        assert picture.format == ("PNG" if name.endswith("png") else "JPEG")


def test_pycocotools_and_torch_load_it(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e", format="coco")
    labels = tmp_path / "e/annotations/instances_train.json"
    coco = COCO(str(labels))
    assert len(coco.getImgIds()) == 6
    (mask,) = (each for each in coco.loadAnns(coco.getAnnIds(iscrowd=False)) if isinstance(each["segmentation"], dict))
    assert np.array_equal(coco.annToMask(mask), ring())
    loaded = CocoDetection(str(tmp_path / "e/images/train"), str(labels), transform=lambda picture: np.asarray(picture))
    batches = list(DataLoader(loaded, batch_size=2, collate_fn=lambda batch: batch))  # type: ignore[arg-type]
    assert sum(len(objects) for batch in batches for _, objects in batch) == 7
    assert {pixels.shape for batch in batches for pixels, _ in batch} == {(HEIGHT, WIDTH, 3)}


def test_a_dict_per_picture_as_detectron2_takes_it(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e", format="coco")
    coco = COCO(str(tmp_path / "e/annotations/instances_train.json"))
    contiguous = {number: at for at, number in enumerate(sorted(coco.getCatIds()))}
    records = [
        {
            "file_name": str(tmp_path / "e/images/train" / image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": [
                {
                    "bbox": each["bbox"],
                    "bbox_mode": 1,
                    "category_id": contiguous[each["category_id"]],
                    "iscrowd": each["iscrowd"],
                    "segmentation": each["segmentation"],
                }
                for each in coco.imgToAnns[image["id"]]
            ],
        }
        for image in coco.loadImgs(coco.getImgIds())
    ]
    assert all(Path(record["file_name"]).is_file() for record in records)
    assert {each["category_id"] for record in records for each in record["annotations"]} == {0, 1}


@pytest.mark.parametrize("task", ["detect", "segment", "auto"])
def test_supervision_loads_yolo(output: Path, tmp_path: Path, task: str) -> None:
    summary = export(output, tmp_path / "e", format="yolo", task=task)
    assert any(what.startswith("crowd") for what in summary.left_out)
    assert any(what.startswith("masks") for what in summary.left_out) == (task == "detect")
    loaded = DetectionDataset.from_yolo(
        str(tmp_path / "e/images/train"), str(tmp_path / "e/labels/train"), str(tmp_path / "e/data.yaml")
    )
    assert loaded.classes == [category["name"] for category in CATEGORIES]
    expected = boxes_by_name()
    seen = {}
    for path, picture, found in loaded:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        seen[Path(path).stem] = found.xyxy
    assert seen.keys() == expected.keys()
    for stem, boxes in expected.items():
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes]).reshape(-1, 4)
        assert np.abs(seen[stem] - corners).max(initial=0) < 1e-3


def test_yolo_poses_have_keypoints_and_a_shape(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e", format="yolo", task="pose")
    assert yaml.safe_load((tmp_path / "e/data.yaml").read_text())["kpt_shape"] == [2, 3]
    lines = (tmp_path / "e/labels/train/c.txt").read_text().splitlines()
    assert {len(line.split()) for line in lines} == {1 + 4 + 2 * 3}
    assert [float(value) for value in lines[1].split()[5:]] == pytest.approx([45 / 64, 22 / 48, 2, 0, 0, 0])


def test_supervision_loads_voc(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e", format="voc")
    loaded = DetectionDataset.from_pascal_voc(str(tmp_path / "e/JPEGImages"), str(tmp_path / "e/Annotations"))
    expected = boxes_by_name()
    for path, _, found in loaded:
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in expected[Path(path).stem]]).reshape(-1, 4)
        assert found.xyxy.shape == corners.shape
        assert np.abs(found.xyxy - corners).max(initial=0) <= 0.5
    stems = (tmp_path / "e/ImageSets/Main/train.txt").read_text().split("\n")[:-1]
    assert sorted(stems) == sorted(expected)
    assert {path.stem for path in (tmp_path / "e/Annotations").iterdir()} == set(stems)
    objects = np.asarray(Image.open(tmp_path / "e/SegmentationObject/a.png"))
    assert np.array_equal(objects == 2, ring() == 1)
    crowd = ElementTree.parse(tmp_path / "e/Annotations/b.xml")
    assert [each.text for each in crowd.iter("difficult")] == ["1"]


def test_torchvision_loads_cityscapes(output: Path, tmp_path: Path) -> None:
    summary = export(output, tmp_path / "e", format="cityscapes")
    loaded = Cityscapes(
        str(tmp_path / "e"), split="train", mode="fine", target_type=["semantic", "instance", "polygon"]
    )
    assert len(loaded) == 6
    by_name = {Path(path).name: loaded[at] for at, path in enumerate(loaded.images)}
    picture, (semantic, instance, polygons) = by_name["a_leftImg8bit.png"]
    assert picture.size == (WIDTH, HEIGHT)
    assert np.array_equal(np.asarray(semantic) == 24, ring() == 1)
    assert set(np.unique(np.asarray(instance))) == {0, 24000}
    assert [each["label"] for each in polygons["objects"]] == ["véhicule 車", "person"]
    assert summary.left_out == {
        "objects of classes that Cityscapes does not number: in the polygons, not in the label maps": 4
    }
    assert by_name["b_leftImg8bit.png"][1][2]["objects"][0]["label"] == "persongroup"


def test_datasets_loads_the_folder_with_its_features(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e", format="hf", splits="0.5,0.5", seed=3)
    loaded = datasets.load_dataset(str(tmp_path / "e"), cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded, datasets.DatasetDict)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 3, "validation": 3}
    features = loaded["train"].features
    category = features["objects"].feature["category"]
    assert isinstance(category, datasets.ClassLabel)
    assert category.names == [each["name"] for each in CATEGORIES]
    every: list[Any] = [row for rows in loaded.values() for row in rows]
    rows = {row["key"]: row for row in every}
    expected = {each["id"]: each["bbox"] for each in SOURCE["annotations"]}
    for row in rows.values():
        assert row["image"].size == (WIDTH, HEIGHT)
        for each in row["objects"]:
            assert each["bbox"] == expected[int(each["id"])]
            assert category.int2str(each["category"]) == {3: "person", 7: "véhicule 車"}[each["category_id"]]
    assert rows["empty"]["objects"] == []
    assert rows["a"]["metric.psnr"] > 0


@pytest.mark.parametrize("format", ["coco", "bdd100k", "yolo"])
def test_what_an_export_holds_is_what_pycocotools_and_supervision_load(
    output: Path, tmp_path: Path, format: str
) -> None:
    """BDD100K's folder, which neither of them reads, and YOLO's, which one reads, go through our own reader to COCO."""
    folder = tmp_path / "e"
    assert export(output, folder, format=format).annotations == 7
    if format != "coco":
        labels = {"format": format, "uri": str(folder / ("labels/train.json" if format == "bdd100k" else "labels"))}
        run_job(job(folder / "images", tmp_path / "again", source__labels=labels), local=True)
        folder = tmp_path / "coco"
        assert export(tmp_path / "again", folder, format="coco").annotations == 7
    labels_file = folder / "annotations/instances_train.json"
    expected = boxes_by_name()
    coco = COCO(str(labels_file))
    pictures = coco.loadImgs(coco.getImgIds())
    assert sorted(Path(each["file_name"]).stem for each in pictures) == sorted(expected)
    loaded = DetectionDataset.from_coco(str(folder / "images/train"), str(labels_file))
    seen = {Path(path).stem: (picture, found) for path, picture, found in loaded}
    for each in pictures:
        stem = Path(each["file_name"]).stem
        boxes = np.array(sorted(expected[stem])).reshape(-1, 4)
        mine = np.array(sorted(found["bbox"] for found in coco.imgToAnns[each["id"]])).reshape(-1, 4)
        assert mine.shape == boxes.shape
        assert np.abs(mine - boxes).max(initial=0) <= 1
        picture, found = seen[stem]
        assert picture.shape == (HEIGHT, WIDTH, 3)
        theirs = np.array(sorted([x, y, right - x, bottom - y] for x, y, right, bottom in found.xyxy)).reshape(-1, 4)
        assert theirs.shape == boxes.shape
        assert np.abs(theirs - boxes).max(initial=0) <= 1
    masks = [found for found in coco.loadAnns(coco.getAnnIds()) if isinstance(found.get("segmentation"), dict)]
    # YOLO has neither crowds nor masks.
    assert sorted(found["iscrowd"] for found in masks) == ([] if format == "yolo" else [0, 1])
    assert all(np.array_equal(coco.annToMask(found), ring()) for found in masks if not found["iscrowd"])
