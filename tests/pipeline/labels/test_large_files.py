"""Label files of 200 MB: read in bounded memory, or refused in one line that says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile_tools import MOST_MIB

ROOT = Path(__file__).resolve().parents[3]
SIZE = 200_000_000
READ = """
import sys
from pathlib import Path
from methods.errors import InputError
from tests.pipeline.labels.test_fuzz import read_all
from tests.support.memory import peak_mib
try:
    said = read_all(Path(sys.argv[1]), sys.argv[2])
except InputError as error:
    said = str(error)
print(peak_mib())
print(said)
"""
BOX = '{"id":1,"image_id":7,"category_id":1,"bbox":[10,5,20.5,15],"iscrowd":0},'
PICTURE = '{"images":[{"id":7,"file_name":"a.jpg","width":80,"height":60}],"categories":[{"id":1,"name":"car"}],'
VALUE = "one value of more than 16 MiB"
BDD = '{"name":"a.jpg","labels":[{"category":"car","box2d":{"x1":1,"y1":2,"x2":30,"y2":20}}]},'
CASES = {
    "spaces": ("coco", "labels.json", "", " ", "", "Expecting value"),
    "depth": ("coco", "labels.json", "", "[", "", "nested too deeply"),
    "digits": ("coco", "labels.json", '{"images":', "1", "", "a number of thousands of digits"),
    "a string": ("coco", "labels.json", '{"images":"', "x", "", VALUE),
    "empty lists": ("coco", "labels.json", '{"images":[[', "[],", "", VALUE),
    "numbers": ("coco", "labels.json", '{"annotations":[{"bbox":[', "0,", "", VALUE),
    "categories": (
        "coco",
        "labels.json",
        '{"categories":[',
        '{"id":1,"name":"a"},',
        "",
        "more than 100,000 categories",
    ),
    "keys": ("coco", "labels.json", "{", '"a":[],', "", "more than 100,000 keys"),
    "boxes of a picture": ("coco", "labels.json", f'{PICTURE}"annotations":[', BOX, f"{BOX[:-1]}]}}", "0"),
    "boxes of a frame": ("bdd100k", "labels.json", '[{"name":"a.jpg","labels":[', "{},", "", VALUE),
    "class names": ("yolo", "data.yaml", "names: [", "a,", "", "larger than 16 MiB"),
    "a field": ("openimages", "a.csv", "ImageID,LabelName\n", "x", "", "field larger than field limit"),
}


LONG = ("empty lists", "boxes of a picture")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.soak if case in LONG else pytest.mark.slow) for case in CASES]
)
def test_a_label_file_of_200_mb(tmp_path: Path, case: str) -> None:
    format, name, head, unit, tail, expected = CASES[case]
    folder = tmp_path / "labels"
    folder.mkdir()
    many = max(1, (1 << 20) // len(unit))
    with (folder / name).open("w") as file:
        file.write(head)
        for _ in range(SIZE // (many * len(unit))):
            file.write(unit * many)
        file.write(tail)
    if name == "data.yaml":
        (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    command = [sys.executable, "-c", READ, str(folder), format]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    (folder / name).unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    peak, said = done.stdout.rstrip("\n").split("\n")
    assert expected in said
    assert int(peak) < MOST_MIB


@pytest.mark.parametrize("files", [1, 2])
def test_a_picture_with_more_labels_than_are_read_is_a_rejected_row(tmp_path: Path, monkeypatch, files: int) -> None:
    from methods.errors import BadSample
    from pipeline.labels import table
    from pipeline.labels.source import TableSource, open_table

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(table, "MAX_RECORD", 1000)
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0}
    for number in range(files):
        few = {"id": 8, "file_name": "b.jpg", "width": 80, "height": 60}
        images = [{"id": 7, "file_name": "a.jpg", "width": 80, "height": 60}, *([few] if not number else [])]
        boxes = [{**box, "id": n + 100 * number} for n in range(20 // files)]
        document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    found = open_table(TableSource(str(tmp_path / "*.json"), "coco"))
    with pytest.raises(BadSample, match="labels: more than 0 MiB of text for one picture"):
        found.find("a.jpg")
    record = found.find("b.jpg")
    assert record is not None
    assert "b.jpg" in record.text
    found.close()
