"""Outputs of loose pictures: the promises of every output hold for them too."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import CocoDetection

from pipeline.errors import JobFailed
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import Store
from tests.support.datasets import read_tree, write_tars
from tests.support.jobs import index_rows, job
from tests.support.labelled import CATEGORIES, HEIGHT, WIDTH, coco_document, write_labelled

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PARTS = ("images", "data", "index", "labels.json")


def spec_of(root: Path, out: str = "out") -> JobSpec:
    folder, labels = write_labelled(root)
    return job(
        folder,
        root / out,
        source__labels={"format": "coco", "uri": str(labels)},
        output__format="files",
        output__shard_size=2,
        output__image={"format": "png"},
        metrics=["psnr"],
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    run_job(spec_of(root), local=True)
    return root / "out"


def test_pictures_lie_beside_one_coco_document(output: Path) -> None:
    loaded = CocoDetection(str(output), str(output / "labels.json"), transform=lambda picture: np.asarray(picture))
    assert len(loaded) == 6
    assert sum(len(objects) for _, objects in loaded) == len(coco_document()["annotations"])
    assert json.loads((output / "labels.json").read_text())["categories"] == CATEGORIES
    paths = {path.relative_to(output).as_posix() for path in (output / "images").rglob("*.png")}
    assert {image["file_name"] for image in loaded.coco.imgs.values()} == paths
    assert {path.rpartition("/")[2] for path in paths} >= {"ünï 車.png", "c.png"}
    assert all(Image.open(output / path).size == (WIDTH, HEIGHT) for path in paths)


def test_data_files_name_the_pictures(output: Path) -> None:
    for path in (output / "data").iterdir():
        for row in pq.read_table(path).to_pylist():
            assert (path.parent / row["image"]).is_file()
    rows = datasets.load_dataset(str(output), split="train", cache_dir=str(output.parent / "cache"))
    assert rows[0]["image"].startswith("../images/")  # type: ignore[index]


def test_verify_reads_every_loose_picture(output: Path, tmp_path: Path) -> None:
    assert verify(Store(str(output))).sound
    copy = tmp_path / "copy"
    for name, data in read_tree(output, ".").items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    one, two, *_ = sorted((copy / "images").rglob("*.png"))
    one.write_bytes(two.read_bytes())
    two.unlink()
    problems = verify(Store(str(copy))).problems
    assert len(problems) == 2
    assert all("checksum" in problem for problem in problems)


def test_what_is_not_committed_is_not_there_and_a_rerun_gives_the_same_bytes(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.sink.commit as sink

    real = sink.part_path
    left = [1]

    def cut(*arguments):
        if not left[0]:
            raise RuntimeError("cut between the puts")
        left[0] -= 1
        return real(*arguments)

    monkeypatch.setattr(sink, "part_path", cut)
    # made once: a source file that is written anew is another version of it
    spec = spec_of(tmp_path)
    with pytest.raises(JobFailed):
        run_job(spec, local=True)
    out = tmp_path / "out"
    assert len(read_tree(out, "index")) == 1
    assert len(read_tree(out, "images")) > 2
    monkeypatch.setattr(sink, "part_path", real)
    assert run_job(spec, local=True).state == "done"
    whole = {name: data for name, data in read_tree(output, ".").items() if name.startswith(PARTS)}
    again = {name: data for name, data in read_tree(out, ".").items() if name.startswith(PARTS)}
    # The index names the files of the source, which lie in another folder here.
    assert set(again) == set(whole)
    assert all(again[name] == whole[name] for name in whole if not name.startswith("index"))
    assert run_job(spec, local=True).state == "nothing_to_do"


def test_equal_keys_of_two_files_do_not_overwrite_each_other(tmp_path: Path) -> None:
    write_tars(tmp_path / "in/a", 1, 2)
    write_tars(tmp_path / "in/b", 1, 2)
    run_job(job(tmp_path / "in", tmp_path / "out", output__format="files"), local=True)
    assert len(read_tree(tmp_path / "out", "images")) == 4
    problems = verify(Store(str(tmp_path / "out"))).problems
    assert len(problems) == 2
    assert all("is ok more than once" in problem for problem in problems)


def test_an_export_may_link_to_them(output: Path, tmp_path: Path) -> None:
    store = Store(str(output))
    tree = stored_job(store)
    assert tree is not None
    made = Job.from_record(tree, store)
    summary = export_folder(made, Store(str(tmp_path / "e")), ExportOptions(format="yolo", images="link"))
    assert summary.written == 6
    linked = sorted((tmp_path / "e/images/train").iterdir())
    assert {path.stat().st_ino for path in linked} == {path.stat().st_ino for path in output.rglob("images/**/*.png")}
    again = export_folder(made, Store(str(tmp_path / "e")), ExportOptions(format="yolo", images="link"))
    assert again.written == 0


def test_an_output_of_loose_files_is_a_source_again(output: Path, tmp_path: Path) -> None:
    again = job(output / "data", tmp_path / "again", metrics=[])
    run_job(again, local=True)
    first = {row["key"]: row for row in index_rows(output)}
    second = {row["key"]: row for row in index_rows(tmp_path / "again")}
    assert first.keys() == second.keys()
    assert {row["status"] for row in second.values()} == {"ok"}
    assert {key: row["sha256"] for key, row in first.items()} == {
        key: row["source_sha256"] for key, row in second.items()
    }
