"""`preview`: what is on the sheet, and that nothing else is touched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from methods.errors import InputError
from pipeline import quantity
from pipeline.preview import CELL, preview, preview_jobs
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture, read_tree, street_samples, write_tar, write_tars
from tests.support.jobs import job
from tests.support.label_files import write_files


def sheet(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


def at(image: np.ndarray, pixels: np.ndarray) -> list[tuple[int, int]]:
    """(y, x) of every place where these pixels stand on the sheet, to two grey levels."""
    height, width = pixels.shape[:2]
    found = []
    for y in range(image.shape[0] - height + 1):
        for x in range(image.shape[1] - width + 1):
            if abs(image[y, x] - pixels[0, 0]).max() <= 2:
                window = image[y : y + height, x : x + width]
                if abs(window - pixels).max() <= 2:
                    found.append((y, x))
    return found


def test_source_output_and_target_stand_side_by_side(tmp_path):
    one, two = picture(1), picture(2)
    write_tar(tmp_path / "in" / "a.tar", {"one": {"png": encoded(one, "PNG"), "target.png": encoded(two, "PNG")}})
    out = preview(job(tmp_path / "in", tmp_path / "out"), 3, tmp_path / "new" / "p.png")
    assert out == tmp_path / "new" / "p.png"
    image = sheet(out)
    (source,), (output,), (target,) = at(image, one), at(image, 255 - one.astype(int)), at(image, two)
    assert source[0] == output[0] == target[0]
    assert source[1] < output[1] < target[1]


def test_several_jobs_stand_side_by_side_with_what_a_picture_takes(tmp_path, heads):
    one = picture(1)
    write_tar(tmp_path / "in" / "a.tar", {"one": {"png": encoded(one, "PNG")}, "bad": {"png": b"no picture"}})
    methods = ("invert", "null", {"name": "sleeper", "params": {"seconds": 0.1}})
    specs = [job(tmp_path / "in", tmp_path / f"out{n}", name=f"j{n}") for n in range(3)]
    specs = [
        each.model_copy(update={"method": job("x", "y", method=m if isinstance(m, dict) else {"name": m}).method})
        for each, m in zip(specs, methods, strict=True)
    ]
    before = {path.name for path in tmp_path.iterdir()}
    seconds = preview_jobs(specs, 2, tmp_path / "p.png")
    assert {path.name for path in tmp_path.iterdir()} == before | {"p.png"}
    assert list(seconds) == ["j0", "j1", "j2"]
    assert seconds["j2"] is not None
    assert seconds["j2"] >= 0.1
    image = sheet(tmp_path / "p.png")
    found = sorted([*at(image, one), *at(image, 255 - one.astype(int))], key=lambda place: place[1])
    # source, inverted, unchanged twice: all in one line
    assert len(found) == 4
    assert len({y for y, _ in found}) == 1
    assert [(y, x) for y, x in at(image, 255 - one.astype(int))] == [found[1]]
    (names,) = heads
    assert names[0] == "source"
    assert names[1:] == [f"{name}, {quantity.duration(took)} per picture" for name, took in seconds.items()]


@pytest.fixture
def heads(monkeypatch) -> list[list[str]]:
    """The columns of each sheet that is drawn."""
    from pipeline import preview as module

    seen: list[list[str]] = []
    original = module._sheet
    monkeypatch.setattr(module, "_sheet", lambda names, lines: seen.append(list(names)) or original(names, lines))
    return seen


def test_columns_are_called_by_what_differs(tmp_path):
    write_tars(tmp_path / "in", 1, 1)
    same = [job(tmp_path / "in", tmp_path / "out", method__name=name) for name in ("invert", "null", "null")]
    assert list(preview_jobs(same[:2], 1, tmp_path / "p.png")) == ["invert", "null"]
    assert list(preview_jobs(same, 1, tmp_path / "p.png")) == ["1 invert", "2 null", "3 null"]


def test_a_method_that_translates_nothing_has_no_speed(tmp_path, heads):
    write_tar(tmp_path / "in" / "a.tar", {"bad": {"jpg": b"no picture at all"}})
    assert preview_jobs([job(tmp_path / "in", tmp_path / "out")], 1, tmp_path / "p.png") == {"output": None}
    assert heads == [["source", "output"]]


VOC = (
    "<annotation><size><width>{width}</width><height>32</height></size><object><name>car</name><bndbox><xmin>2</xmin>"
    "<ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
)
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 32}],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}],
}


def noted(tmp_path: Path, files: dict[str, object], **changes: object) -> list[str]:
    """What a preview of the pictures below ``in`` says; labels lie in ``ann``."""
    write_files(tmp_path, {"in/a.png": encoded(picture(1), "PNG"), **files})
    labels = {} if not any(name.startswith("ann") for name in files) else {"uri": str(tmp_path / "ann")}
    # what a file that cannot be read is of, nobody can guess
    labels |= {"format": "yolo"} if "ann/a.txt" in files else {}
    said: list[str] = []
    spec = job(tmp_path / "in", tmp_path / "out", **{"source__labels": labels, **changes})
    preview_jobs([spec], 4, tmp_path / "p.png", said.append)
    return said


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, []),
        ({"ann/a.txt": "0 0.5 0.5 0.2 0.2\r\n"}, []),
        ({"ann/a.txt": "\ufeff0 0.5 0.5 0.2 0.2\n"}, []),
        ({"ann/a.xml": VOC.format(width=48)}, []),
        ({"ann/all.json": COCO}, []),
        ({"ann/a.txt": "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2\n"}, ["a: in its labels, line.1. has 4 values, fewer"]),
        ({"ann/a.txt": "0 0.5 0.5 0.2 0.2\n0 nan 0.5 0.2 0.2\n"}, ["a: in its labels, .*nan"]),
        ({"ann/a.txt": "0 0.5 0.5 -0.2 0.2\n"}, ["a: in its labels, .*-0.2, which is no share"]),
        (
            {"ann/all.json": COCO | {"annotations": [{**COCO["annotations"][0], "category_id": 7}]}},
            ["a: in its labels, .*7"],
        ),
        (
            {"ann/all.json": {"images": [], "annotations": [], "categories": []}},
            ["no labels; there are none at all"],
        ),
        ({"ann/b.xml": VOC.format(width=48)}, [r"1 of the pictures \(a\) has no labels; the 1 label is for b"]),
        ({"ann/a.txt": "0,0.5,0.5,0.2,0.2"}, ["line.0. has 1 value, fewer than"]),
        (
            {"ann/a.txt": "0 0.5 0.5 0.2 0.2".encode("utf-16")},
            ["a: rejected, bad_labels: labels: byte 0 is not UTF-8 text"],
        ),
        ({"ann/a.xml": "<annotation><object>"}, ["a: rejected, "]),
        ({"in/b.png": b"no picture"}, ["b: rejected, not_an_image: "]),
        ({"in/lab/a.xml": VOC.format(width=48)}, ["1 label file 'lab' .*in the form of voc labels, but not read"]),
    ],
)
def test_what_a_run_would_say_is_said(tmp_path: Path, files: dict[str, object], words: list[str]) -> None:
    said = noted(tmp_path, files)
    assert len(said) == len(words), said
    for line, pattern in zip(said, words, strict=True):
        assert re.search(pattern, line), said


def test_each_target_says_what_is_its_own(tmp_path: Path) -> None:
    said = noted(tmp_path, {"in/b.png": b"no picture"}, targets={"x": {}, "y": {}})
    assert [line.partition(", ")[0] for line in said] == ["x: b: rejected", "y: b: rejected"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_translated(tmp_path: Path, monkeypatch) -> None:
    from pipeline import preview as module

    monkeypatch.setattr(module, "prepare", lambda spec: pytest.fail("the place was not looked at first"))
    write_tars(tmp_path / "in", 1, 1)
    (tmp_path / "file").write_text("x")
    for out, words in (
        (tmp_path / "file/p.png", "part of this path is a file"),
        (Path("/proc/p.png"), "no file can be"),
    ):
        with pytest.raises(InputError, match=words):
            preview(job(tmp_path / "in", tmp_path / "out"), 1, out)


def test_a_source_without_samples_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"none\.parquet"):
        preview(job(tmp_path / "none.parquet", tmp_path / "out"), 1, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_jobs_over_other_samples_are_refused(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples(["a"]))
    write_tar(tmp_path / "other" / "a.tar", street_samples(["b"]))
    specs = [job(tmp_path / name, tmp_path / "out", name=name) for name in ("in", "other")]
    with pytest.raises(InputError, match=r"'in' and 'other' begin with other samples \(a/0; b/0\)"):
        preview_jobs(specs, 1, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


def test_only_the_first_samples_are_shown(tmp_path):
    keys = write_tars(tmp_path / "in", 2, 3)
    heights = [
        sheet(preview(job(tmp_path / "in", tmp_path / "out"), count, tmp_path / "p.png")).shape[0]
        for count in (1, 2, 4, 6, 60)
    ]
    step = heights[1] - heights[0]
    assert heights[2] == heights[0] + 3 * step
    assert heights[3] == heights[4] == heights[0] + (len(keys) - 1) * step


def test_of_a_folder_only_the_samples_wanted_are_read(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for n in range(9):
        (tmp_path / "in" / f"{n}.png").write_bytes(encoded(picture(n), "PNG"))
    for n in range(2, 9):
        (tmp_path / "in" / f"{n}.png").chmod(0)
        (tmp_path / "in" / f"{n}.png").unlink()
        (tmp_path / "in" / f"{n}.png").symlink_to(tmp_path / "nowhere")
    image = sheet(preview(job(tmp_path / "in", tmp_path / "out"), 2, tmp_path / "p.png"))
    assert len(at(image, picture(0))) == len(at(image, picture(1))) == 1


def test_output_and_lock_are_left_alone(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    spec = job(tmp_path / "in", tmp_path / "out")
    preview(spec, 2, tmp_path / "p.png")
    assert not (tmp_path / "out").exists()
    run_job(spec, local=True)
    (tmp_path / "out" / "_sceneshift" / "lock.json").write_text("{}")
    before = read_tree(tmp_path / "out", ".")
    preview(job(tmp_path / "in", tmp_path / "out", seed=5, method__name="noisy"), 2, tmp_path / "p.png")
    assert read_tree(tmp_path / "out", ".") == before


def test_rejected_and_filtered_samples_are_shown_as_such(tmp_path, monkeypatch):
    texts: list[str] = []
    from pipeline import preview as module

    original = module._sheet
    monkeypatch.setattr(
        module, "_sheet", lambda heads, lines: texts.extend(line.text for line in lines) or original(heads, lines)
    )
    samples = street_samples(["good"])
    write_tar(tmp_path / "in" / "a.tar", {**samples, "bad": {"jpg": b"no picture at all"}})
    spec = job(tmp_path / "in", tmp_path / "out", metrics=["psnr"], keep="psnr > 90", variants=2)
    image = sheet(preview(spec, 2, tmp_path / "p.png"))
    assert len(texts) == 4
    assert "good, variant 0\npsnr " in texts[0]
    assert "filtered, not kept by: psnr > 90" in texts[0]
    assert texts[2].startswith("bad, variant 0\nrejected, not_an_image: ")
    source = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    assert image.shape == source.shape


def test_large_pictures_are_made_small_enough(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", {"wide": {"jpg": encoded(picture(1, (1000, 100)))}})
    image = sheet(preview(job(tmp_path / "in", tmp_path / "out"), 1, tmp_path / "p.png"))
    assert 2 * CELL < image.shape[1] < 2 * CELL + 50


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_senseless_number_of_samples_is_refused(tmp_path, count):
    write_tars(tmp_path / "in", 1, 1)
    with pytest.raises(InputError, match="1 to 64"):
        preview(job(tmp_path / "in", tmp_path / "out"), count, tmp_path / "p.png")
