"""What the pipeline writes opens in datasets, pandas, DuckDB, Ray Data, webdataset and pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from jobs.cli import app
from jobs.streets.dataset import write_dataset
from pipeline.output.summary import RowCounts
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture, write_tar
from tests.support.jobs import job

SCENES, SIZE = 4, (96, 64)
BARE, BROKEN = "bare-sample", "broken-sample"
KEYS = [BARE, *(f"scene-{number:08d}" for number in range(SCENES))]


@dataclass(frozen=True)
class Output:
    """One output and what went into it."""

    root: Path
    source: Path
    format: str
    labels: str

    @property
    def data(self) -> list[str]:
        return sorted(str(path) for path in (self.root / "data").iterdir())

    def boxes(self) -> dict[str, list[tuple[str, list[float]]]]:
        """key -> (category, [x, y, width, height]) of every box of the source."""
        found: dict[str, list[tuple[str, list[float]]]] = {key: [] for key in KEYS}
        coco = json.loads((self.source / "labels_coco.json").read_text())
        keys = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
        names = {category["id"]: category["name"] for category in coco["categories"]}
        for each in coco["annotations"]:
            found[keys[each["image_id"]]].append((names[each["category_id"]], each["bbox"]))
        return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Street scenes with every label, one sample with nothing but a picture, and one that is no picture."""
    root = tmp_path_factory.mktemp("streets")
    write_dataset(str(root / "set"), SCENES, SIZE, ["day"], 0, "webdataset", workers=1, scenes_per_file=3)
    odd = {BARE: {"jpg": encoded(picture(7, SIZE))}, BROKEN: {"jpg": b"this is not a picture"}}
    write_tar(root / "set" / "day" / "odd.tar", odd)
    return root / "set" / "day"


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def output(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """The source, inverted. Labels from the COCO file for Parquet, from each sample's BDD100K frame for tars."""
    return made(source, tmp_path_factory, request.param, "coco" if request.param == "parquet" else "bdd100k")


@pytest.fixture(scope="module", params=["coco", "bdd100k"])
def labelled(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Output:
    """As `output`, the other way round: both label formats through one kind of output."""
    return made(source, tmp_path_factory, "webdataset" if request.param == "coco" else "parquet", request.param)


def made(source: Path, factory: pytest.TempPathFactory, format: str, labels: str) -> Output:
    out = factory.mktemp(f"{format}-{labels}") / "out"
    given = {"format": labels} | ({"uri": str(source / "labels_coco.json")} if labels == "coco" else {})
    spec = job(
        source, out, source__labels=given, output__format=format, output__shard_size=2, metrics=["psnr"], max_rejects=1
    )
    outcome = run_job(spec, local=True)
    assert outcome.summary.rows == RowCounts(SCENES + 2, SCENES + 1, 0, 1)
    return Output(out, source, format, labels)


def originals(source: Path) -> dict[str, np.ndarray]:
    """The source's pictures, by key."""
    found = {}
    for path in source.glob("*.tar"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".jpg") and BROKEN not in member.name:
                    file = archive.extractfile(member)
                    assert file is not None
                    found[member.name.removesuffix(".jpg")] = np.asarray(Image.open(file))
    return found


def assert_inverted(pictures: dict[str, Any], source: Path) -> None:
    """Every picture of the source is there, and is its negative."""
    expected = originals(source)
    assert sorted(pictures) == sorted(expected) == KEYS
    for key, found in pictures.items():
        pixels = np.asarray(found if not isinstance(found, bytes) else Image.open(io.BytesIO(found)))
        assert np.abs(pixels.astype(int) - (255 - expected[key].astype(int))).max() <= 1


@pytest.mark.parametrize("where", ["folder", "data"])
def test_datasets(output: Output, where: str, tmp_path: Path):
    import datasets

    place = output.root if where == "folder" else output.root / "data"
    loaded: Any = datasets.load_dataset(str(place), cache_dir=str(tmp_path), split="train")
    key, image = ("key", "image") if output.format == "parquet" else ("__key__", "png")
    # Without the card a column of Parquet is bytes; a tar's member tells what it is by its ending.
    assert_inverted({row[key]: row[image] for row in loaded}, output.source)
    captions = {row[key]: row["caption" if output.format == "parquet" else "txt"] for row in loaded}
    assert captions[BARE] is None
    assert captions[KEYS[1]].startswith("a driving scene")


def test_datasets_opens_the_index(output: Output, tmp_path: Path):
    import datasets

    index = str(output.root / "index.parquet")
    loaded: Any = datasets.load_dataset("parquet", data_files=index, cache_dir=str(tmp_path), split="train")
    assert {row["key"]: row["status"] for row in loaded} == dict.fromkeys(KEYS, "ok") | {BROKEN: "rejected"}


def records(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file or a folder of them, as pandas reads it."""
    return [{str(name): value for name, value in row.items()} for row in pd.read_parquet(path).to_dict("records")]


def test_pandas(output: Output):
    index = records(output.root / "index.parquet")
    good = [row for row in index if row["status"] == "ok"]
    (refused,) = [row for row in index if row["status"] != "ok"]
    assert (refused["key"], refused["status"], refused["error"]) == (BROKEN, "rejected", "not_an_image")
    assert all(row["metric.psnr"] > 0 for row in good)
    assert_boxes({row["key"]: boxes_of(row["labels"]) for row in good}, output)
    # The parts by themselves are the same index.
    assert sorted(row["key"] for row in records(output.root / "index")) == [row["key"] for row in index]
    if output.format == "parquet":
        assert_inverted({row["key"]: row["image"] for row in records(output.root / "data")}, output.source)


def boxes_of(labels: Any) -> list[tuple[str, list[float]]]:
    """Boxes of one cell of the column ``labels``."""
    return (
        [(each["category"], [float(side) for side in each["bbox"]]) for each in labels["annotations"]] if labels else []
    )


def assert_boxes(found: dict[str, list[tuple[str, list[float]]]], output: Output) -> None:
    """The boxes are the source's: the picture has kept its size."""
    expected = output.boxes()
    assert sum(len(boxes) for boxes in expected.values()) > 10
    assert found.keys() == expected.keys()
    for key, boxes in expected.items():
        assert [name for name, _ in sorted(found[key])] == [name for name, _ in sorted(boxes)]
        for (_, got), (_, wanted) in zip(sorted(found[key]), sorted(boxes), strict=True):
            assert got == pytest.approx(wanted, abs=1e-6)


def test_duckdb(output: Output):
    import duckdb

    sql = duckdb.connect()
    index = f"read_parquet('{output.root}/index/*.parquet')"
    per_class = sql.execute(
        f"select each.category, count(*) from (select unnest(labels.annotations) as each from {index}) group by 1"
    ).fetchall()
    expected: dict[str, int] = {}
    for boxes in output.boxes().values():
        for name, _ in boxes:
            expected[name] = expected.get(name, 0) + 1
    assert dict(per_class) == expected
    mean = sql.execute(f"""select avg("metric.psnr") from {index} where status = 'ok'""").fetchall()
    summary = json.loads((output.root / "metrics.json").read_text())
    assert mean[0][0] == pytest.approx(summary["columns"]["psnr"]["mean"])
    if output.format == "parquet":
        rows = sql.execute(f"select key, image from '{output.root}/data/*.parquet'").fetchall()
        assert_inverted(dict(rows), output.source)


@pytest.mark.slow
def test_ray_data(output: Output, ray_cluster: None):
    if output.format != "parquet":
        pytest.skip("for Parquet")
    import ray.data

    index = ray.data.read_parquet(str(output.root / "index")).take_all()
    assert sorted(row["key"] for row in index) == sorted([*KEYS, BROKEN])
    assert_boxes({row["key"]: boxes_of(row["labels"]) for row in index if row["status"] == "ok"}, output)
    rows = ray.data.read_parquet(str(output.root / "data")).select_columns(["key", "image"]).take_all()
    assert_inverted({row["key"]: row["image"] for row in rows}, output.source)


def test_webdataset(output: Output):
    if output.format != "webdataset":
        pytest.skip("for tars")
    from webdataset.compat import WebDataset

    opened: Any = WebDataset(output.data, shardshuffle=False, empty_check=False).decode("pil")
    samples = list(opened)
    assert_inverted({sample["__key__"]: sample["png"] for sample in samples}, output.source)
    for sample in samples:
        about = sample["json"]
        assert (about["key"], about["width"], about["height"]) == (sample["__key__"], *SIZE)
        if sample["__key__"] != BARE:
            assert sample["seg.png"].size == SIZE
    found = {
        sample["__key__"]: boxes_of(sample["json"] if "annotations" in sample["json"] else None) for sample in samples
    }
    assert_boxes(found, output)


def test_the_places_in_the_index_lead_to_the_pictures(output: Output):
    pictures = {}
    for row in records(output.root / "index.parquet"):
        if row["status"] != "ok":
            continue
        if output.format == "webdataset":
            with open(output.root / "data" / f"{row['shard']}.tar", "rb") as file:
                file.seek(int(row["offset"]))
                pictures[row["key"]] = file.read(int(row["size"]))
        else:
            shard = records(output.root / "data" / f"{row['shard']}.parquet")
            pictures[row["key"]] = shard[int(row["row"])]["image"]
    assert_inverted(pictures, output.source)


def test_coco_export_opens_in_pycocotools(labelled: Output, tmp_path: Path):
    from pycocotools.coco import COCO

    exported = tmp_path / "labels.json"
    result = CliRunner().invoke(app, ["export", str(labelled.root), str(exported)])
    assert result.exit_code == 0, result.output
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(exported))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    found: dict[str, list[tuple[str, list[float]]]] = {}
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["width"], image["height"]) == SIZE
        key = image["file_name"].removesuffix(".png")
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        found[key] = [(names[each["category_id"]], each["bbox"]) for each in annotations]
        for each in annotations:
            if "segmentation" in each:
                assert coco.annToMask(each).shape == SIZE[::-1]
    assert_boxes(found, labelled)


def test_bdd100k_export_holds_the_same_boxes(labelled: Output, tmp_path: Path):
    exported = tmp_path / "labels.json"
    result = CliRunner().invoke(app, ["export", str(labelled.root), str(exported), "--format", "bdd100k"])
    assert result.exit_code == 0, result.output
    found: dict[str, list[tuple[str, list[float]]]] = {}
    for frame in json.loads(exported.read_text()):
        found[frame["name"].removesuffix(".png")] = [
            (each["category"], [box["x1"], box["y1"], box["x2"] - box["x1"], box["y2"] - box["y1"]])
            for each in frame["labels"]
            if (box := each.get("box2d"))
        ]
    assert_boxes(found, labelled)
