"""Splits, --where, names, resuming and wrong input of exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.names import Names
from pipeline.output.export.run import ExportOptions, ExportSummary, export_folder
from pipeline.output.export.single import export_file
from pipeline.output.export.splits import Splitter, key_hash, parse_splits
from pipeline.run.driver import run_job
from pipeline.run.refilter import refilter
from pipeline.storage import Store
from tests.support.datasets import read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import index_rows, job


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with label maps, in two shards, each picture in two variants."""
    root = tmp_path_factory.mktemp("made")
    write_tars(root / "in", 2, 6)
    run_job(job(root / "in", root / "out", method__name="noisy", metrics=["psnr"], variants=2), local=True)
    return root / "out"


def made(output: Path) -> Job:
    store = Store(str(output))
    tree = stored_job(store)
    assert tree is not None
    return Job.from_record(tree, store)


def export(output: Path, target: Path, **options: Any) -> ExportSummary:
    return export_folder(made(output), Store(str(target)), ExportOptions(**options))


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_splits_are_exact_and_keep_variants_together(output: Path, tmp_path: Path) -> None:
    summary = export(output, tmp_path / "e", splits="0.75,0.25", seed=1, images="none")
    assert summary.splits == {"train": 18, "val": 6}
    by_split = {
        split: {image["file_name"].rpartition("_v")[0] for image in json.loads(path.read_text())["images"]}
        for split in ("train", "val")
        for path in [tmp_path / f"e/annotations/instances_{split}.json"]
    }
    assert not by_split["train"] & by_split["val"]
    assert len(by_split["val"]) == 3
    assert export(output, tmp_path / "f", splits="0.75,0.25", seed=2, images="none").splits == summary.splits
    assert (tmp_path / "f/annotations/instances_val.json").read_bytes() != (
        tmp_path / "e/annotations/instances_val.json"
    ).read_bytes()


def test_where_chooses_as_keep_does(output: Path, tmp_path: Path) -> None:
    values = sorted(row["metric.psnr"] for row in index_rows(output))
    limit = (values[9] + values[10]) / 2
    summary = export(output, tmp_path / "e", where=f"metric.psnr > {limit} and width >= 48", images="none")
    assert summary.pictures == len(values) - 10
    with pytest.raises(InputError, match="--where: unknown column 'pnsr': did you mean 'psnr'"):
        export(output, tmp_path / "f", where="pnsr > 1")
    with pytest.raises(InputError, match="--where"):
        export(output, tmp_path / "f", where="__import__('os').system('true') > 1")
    with pytest.raises(InputError, match="no picture to export"):
        export(output, tmp_path / "f", where="psnr > 1000")
    assert not (tmp_path / "f").exists()


def test_label_maps_and_captions_come_along(output: Path, tmp_path: Path) -> None:
    export(output, tmp_path / "e")
    found = names(tmp_path / "e")
    assert {"images/train/s0000_v0.png", "images/train/s1005_v1.png", "masks/train/seg/s0000_v0.png"} <= found
    captions = json.loads((tmp_path / "e/annotations/captions_train.json").read_text())
    assert len(captions["annotations"]) == 24
    assert captions["annotations"][0]["caption"].startswith("a street called")


def test_an_export_that_was_broken_off_goes_on(output: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    export(output, whole, format="yolo")
    broken = tmp_path / "broken"

    def stop(done: int, total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    options = ExportOptions(format="yolo")
    with pytest.raises(KeyboardInterrupt):
        export_folder(made(output), Store(str(broken)), options, stop)
    (broken / "images/train/s0000_v0.png").write_bytes(b"half")
    assert not json.loads((broken / ".sceneshift-export.json").read_text())["complete"]
    export(output, broken, format="yolo")
    assert read_tree(broken, ".") == read_tree(whole, ".")
    with pytest.raises(InputError, match="other options"):
        export(output, broken, format="voc")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        export(output, tmp_path / "full")


def test_pictures_that_are_there_are_not_read_again(output: Path, tmp_path: Path, monkeypatch) -> None:
    write_tars(tmp_path / "in", 1, 4)
    for path in (tmp_path / "in").glob("*.tar"):
        assert path.exists()
    run_job(job(tmp_path / "in", tmp_path / "out", source__masks=[], source__carry=[]), local=True)
    assert export(tmp_path / "out", tmp_path / "e").written == 4
    for path in (tmp_path / "out/data").iterdir():
        path.unlink()
    summary = export(tmp_path / "out", tmp_path / "e")
    assert (summary.pictures, summary.written) == (4, 0)


def test_one_file_of_labels_as_before(output: Path, tmp_path: Path) -> None:
    summary = export_file(made(output), tmp_path / "new/l.json", "coco", None)
    document = json.loads((tmp_path / "new/l.json").read_text())
    assert summary.pictures == len(document["images"]) == 24
    assert {image["file_name"] for image in document["images"]} >= {"s0000_v0.png", "s1005_v1.png"}
    export_file(made(output), tmp_path / "b.json", "bdd100k", None)
    assert len(json.loads((tmp_path / "b.json").read_text())) == 24


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "yool"}, "did you mean 'yolo'"),
        ({"images": "copi"}, "did you mean 'copy'"),
        ({"images": "link"}, "output.format: files"),
        ({"image_format": "pgn"}, "did you mean 'png'"),
        ({"format": "yolo", "task": "segmnt"}, "did you mean 'segment'"),
        ({"format": "yolo", "task": "pose"}, "declares keypoints"),
        ({"splits": "0.9,0.2"}, "add up to 1"),
        ({"splits": "a,b"}, "write shares"),
        ({"splits": "0.25,0.25,0.25,0.25"}, "name more than three"),
        ({"splits": "train=0.5,train=0.5"}, "name of its own"),
    ],
)
def test_wrong_input_is_one_line(output: Path, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        export(output, tmp_path / "e", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_names_are_given_once_and_fit_on_every_disk() -> None:
    unique = Names(1, flat=False, clash=False)
    assert unique.new("a/B", 0, "one") == "a/B"
    again = unique.new("a/b", 0, "two")
    assert again.startswith("a/b-")
    assert len(unique.new("x" * 500, 0, "one").encode()) < 255
    assert unique.new("é" * 300, 0, "one") != unique.new("é" * 301, 0, "one")
    flat = Names(1, flat=True, clash=True)
    assert flat.new("a/b", 0, "one") == "a__b"
    assert Names(2, flat=True, clash=False).new("a/b", 1, "one") == "b_v1"


@given(st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=60), st.integers(0, 3), st.integers(1, 9))
def test_shares_hold_to_within_one_sample(keys: set[str], seed: int, tenths: int) -> None:
    share = tenths / 10
    splits = parse_splits(f"{share},{1 - share}")
    hashes = np.array([key_hash(key, seed) for key in keys], np.uint64)
    splitter = Splitter(splits, seed, hashes)
    train = sum(splitter.of(key) == "train" for key in keys)
    assert abs(train - share * len(keys)) <= 0.5 + 1e-9


def test_to_a_store_that_is_no_disk(output: Path, tmp_path: Path) -> None:
    target = Store(f"memory://{tmp_path.name}/e")
    export_folder(made(output), target, ExportOptions(format="coco"))
    export(output, tmp_path / "e", format="coco")
    assert {entry.path: target.read(entry.path) for entry in target.list()} == read_tree(tmp_path / "e", ".")
    assert export_folder(made(output), target, ExportOptions(format="coco")).pictures == 24


def test_an_export_never_mixes_with_an_older_one_of_the_same_output(tmp_path: Path) -> None:
    """Files of the older one would stay: pictures in two splits at once, or that a filter has dropped since."""
    source, spec = tmp_path / "in", job(tmp_path / "in", tmp_path / "out", metrics=["psnr"])
    write_tars(source, 1, 4)
    run_job(spec, local=True)
    for name, splits in (("whole", None), ("split", "0.5,0.5")):
        export(tmp_path / "out", tmp_path / name, splits=splits)
    write_tars(source, 2, 4)
    run_job(spec, local=True)
    assert export(tmp_path / "out", tmp_path / "whole").pictures == 8
    with pytest.raises(InputError, match="holds an export of other pictures"):
        export(tmp_path / "out", tmp_path / "split", splits="0.5,0.5")
    refilter(made(tmp_path / "out"), "psnr > 0")
    with pytest.raises(InputError, match="holds an export of other pictures"):
        export(tmp_path / "out", tmp_path / "whole")


def test_pictures_without_labels_are_counted_beside_labelled_ones(tmp_path: Path) -> None:
    samples = street_samples(["a", "b", "c"])
    samples["a"]["json"] = json.dumps({"annotations": [{"bbox": [1, 1, 9, 9], "category": "car"}]}).encode()
    samples["b"]["json"] = json.dumps({"annotations": []}).encode()
    write_tar(tmp_path / "in" / "a.tar", samples)
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    summaries = [
        export(tmp_path / "out", tmp_path / "e"),
        export_file(made(tmp_path / "out"), tmp_path / "e.json", "coco", None),
    ]
    for each in summaries:
        assert [count for what, count in each.left_out.items() if what.startswith("pictures without labels")] == [1]
