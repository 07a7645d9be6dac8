"""Datasets on disk: the same bytes however made, readable by the tools they are for, refused when asked wrongly."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.streets import Frame, Scene
from jobs.streets.dataset import write_dataset
from methods.errors import InputError
from pipeline.labels import TableSource, open_table
from tests.support.label_files import labels_of

SETTINGS: dict[str, Any] = {
    "scenes": 3,
    "size": (48, 32),
    "conditions": ["day", "night"],
    "seed": 20,
    "scenes_per_file": 2,
    "paired_with": "night",
    "workers": 1,
}
KEYS = ["scene-00000020", "scene-00000021", "scene-00000022"]


def _changed(**change: Any) -> dict[str, Any]:
    return SETTINGS | change


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def _tar_samples(path: Path) -> dict[str, dict[str, bytes]]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            key, suffix = member.name.split(".", 1)
            file = archive.extractfile(member)
            assert file is not None
            samples.setdefault(key, {})[suffix] = file.read()
    return samples


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {}
    for name in ("webdataset", "parquet", "folder"):
        roots[name] = tmp_path_factory.mktemp("streets") / name
        summary = write_dataset(str(roots[name]), format=name, **SETTINGS)
        assert (summary.images, summary.scenes) == (6, 3)
        assert summary.files == len(_files(roots[name]))
        assert summary.bytes == sum(map(len, _files(roots[name]).values()))
    return roots


@pytest.fixture(scope="module")
def tars(written: dict[str, Path]) -> dict[str, dict[str, dict[str, bytes]]]:
    root = written["webdataset"]
    return {
        name: _tar_samples(root / name / f"{name}-000000.tar") | _tar_samples(root / name / f"{name}-000001.tar")
        for name in ("day", "night")
    }


def test_lossless_pictures_are_the_rendered_pixels(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), format="webdataset", **_changed(scenes=1, lossless=True))
    sample = _tar_samples(tmp_path / "day" / "day-000000.tar")[KEYS[0]]
    frame = Frame(Scene(20), 48, 32)
    for suffix, condition in (("png", "day"), ("target.png", "night")):
        assert np.array_equal(_image(sample[suffix]), frame.render(condition))
    assert json.loads((tmp_path / "day" / "labels_coco.json").read_text())["images"][0]["file_name"] == f"{KEYS[0]}.png"
    assert "| `.target.png` | `target` |" in (tmp_path / "README.md").read_text()


def test_workers_do_not_matter(written: dict[str, Path], tmp_path: Path) -> None:
    write_dataset(str(tmp_path), format="webdataset", **_changed(workers=2))
    assert _files(tmp_path) == _files(written["webdataset"])


def test_tar_members(tars: dict[str, dict[str, dict[str, bytes]]]) -> None:
    assert list(tars["day"]) == list(tars["night"]) == KEYS
    for key in KEYS:
        day, night = tars["day"][key], tars["night"][key]
        assert set(day) - set(night) == {"target.jpg"}
        assert day["target.jpg"] == night["jpg"]
        for suffix in ("seg.png", "instance.png", "depth.png", "edges.png"):
            assert day[suffix] == night[suffix]
        assert json.loads(day["json"])["name"] == f"{key}.jpg"
        assert day["txt"].decode().endswith("in the day")


def test_pixels_are_the_renderers(tars: dict[str, dict[str, dict[str, bytes]]]) -> None:
    frame = Frame(Scene(21), 48, 32)
    sample = tars["day"]["scene-00000021"]
    assert np.abs(_image(sample["jpg"]).astype(int) - frame.render("day")).mean() < 6
    depth, seg = _image(sample["depth.png"]), _image(sample["seg.png"])
    assert depth.shape == seg.shape == (32, 48)
    assert ((depth == 0) == (seg == 10)).all()
    metres = frame.view.raster.depth[1::2, 1::2]
    near = metres < 100
    assert np.abs(depth[near] / 100 - metres[near]).max() < 0.006


def test_parquet_and_folder_hold_the_same(
    written: dict[str, Path], tars: dict[str, dict[str, dict[str, bytes]]]
) -> None:
    files = sorted((written["parquet"] / "day").glob("*.parquet"))
    table = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [row["key"] for row in table] == KEYS
    for row in table:
        members = tars["day"][row["key"]]
        assert row["image"] == members["jpg"]
        assert row["target"] == members["target.jpg"]
        assert row["caption"].encode() == members["txt"]
        assert row["labels"].encode() == members["json"]
        assert row["depth"] == members["depth.png"]
        for suffix, data in members.items():
            loose = written["folder"] / "day" / "images" / f"{row['key']}.{suffix}"
            assert loose.read_bytes() == data
    assert "target" not in pq.read_schema(written["parquet"] / "night" / "night-000000.parquet").names


def test_label_files(written: dict[str, Path], tars: dict[str, dict[str, dict[str, bytes]]]) -> None:
    folder = written["folder"] / "night"
    frames = json.loads((folder / "labels_bdd100k.json").read_bytes())
    assert frames == [json.loads(tars["night"][key]["json"]) for key in KEYS]
    bdd = open_table(TableSource(str(folder / "labels_bdd100k.json")))
    coco = open_table(TableSource(str(folder / "labels_coco.json")))
    for key in KEYS:
        theirs, ours = labels_of(bdd, key), labels_of(coco, f"{key}.jpg")
        assert theirs is not None
        assert ours is not None
        assert [each.category for each in theirs.annotations] == [each.category for each in ours.annotations]
        assert [each.bbox for each in theirs.annotations] == [each.bbox for each in ours.annotations]
        assert (theirs.width, theirs.height) == (ours.width, ours.height) == (48, 32)


def test_same_dataset_again_and_progress(written: dict[str, Path]) -> None:
    before = _files(written["webdataset"])
    (written["webdataset"] / "day" / "day-000001.tar").unlink()
    seen: list[int] = []
    write_dataset(str(written["webdataset"]), format="webdataset", progress=seen.append, **SETTINGS)
    assert _files(written["webdataset"]) == before
    assert seen == [1, 2, 3]
    with pytest.raises(InputError, match="another sample dataset"):
        write_dataset(str(written["webdataset"]), format="webdataset", **_changed(seed=21))


def test_interrupted_run_leaves_nothing_half_written(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(str(tmp_path), format="webdataset", progress=stop, **SETTINGS)
    assert sorted(_files(tmp_path)) == ["dataset.json", "day/day-000000.tar", "night/night-000000.tar"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": ["day", "nigth"]}, "did you mean 'night'"),
        ({"conditions": ["day", "day"]}, "named twice"),
        ({"conditions": []}, "none given"),
        ({"conditions": ["night"]}, "only condition"),
        ({"size": 31}, "31x31"),
        ({"size": (4000, 64)}, "out of range"),
        ({"scenes": 0}, "scenes: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"format": "webdatset"}, "did you mean 'webdataset'"),
        ({"scenes_per_file": 0}, "scenes_per_file"),
        ({"paired_with": "nite"}, "no condition 'nite'"),
        ({"out": "s3://bucket/x"}, "no local folder"),
    ],
)
def test_refusals(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    wanted = {"out": str(tmp_path / "out"), "format": "folder", **SETTINGS} | change
    with pytest.raises(InputError, match=message) as rejection:
        write_dataset(**wanted)
    assert "\n" not in str(rejection.value)
    assert not (tmp_path / "out").exists()


def test_refuses_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        write_dataset(str(tmp_path), format="folder", **SETTINGS)
    assert _files(tmp_path) == {"precious.txt": b"mine"}
