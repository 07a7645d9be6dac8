"""Jobs with labels, whole: what matches, what is counted, what is refused, and what the labels say afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.commands.export import export_command
from jobs.console import Console
from methods.errors import InputError
from pipeline.labels.source import read_info
from pipeline.output.export.run import ExportOptions
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import Store
from tests.support.datasets import encoded, label_map, picture
from tests.support.jobs import data_rows, index_rows, job
from tests.support.label_files import write_files

SIZE = (48, 32)
CAR = [{"id": 1, "name": "car"}]


def photo(size: tuple[int, int] = SIZE) -> bytes:
    return encoded(picture(1, size), "PNG")


def coco(annotations: list[dict[str, Any]], *names: str, size: tuple[int, int] | None = SIZE) -> dict[str, Any]:
    sides = {} if size is None else {"width": size[0], "height": size[1]}
    images = [{"id": at, "file_name": name, **sides} for at, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": CAR}


def box(image: Any, *sides: float, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": 1, "bbox": list(sides) or [1, 2, 30, 20], **more}


def run(tmp_path: Path, source: dict[str, Any], **changes: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """(outcome, index rows by key) of a job over ``tmp_path/data``, or wherever ``source`` says."""
    spec = job(tmp_path / "data", tmp_path / "out", **changes)
    tree = spec.as_tree()
    tree["source"] |= source
    outcome = run_job(JobSpec.parse(tree), local=True)
    return outcome, {row["key"]: row for row in index_rows(tmp_path / "out")}


def labelled(tmp_path: Path, format: str = "coco", **more: Any) -> dict[str, Any]:
    return {"labels": {"format": format, "uri": str(tmp_path / "labels.json"), **more}}


def boxes(row: dict[str, Any]) -> list[list[float]]:
    return [each["bbox"] for each in row["labels"]["annotations"]]


def test_image_ids_as_text_match_numbers(tmp_path):
    write_files(tmp_path, {"data/a.png": photo(), "labels.json": coco([box("0")], "a.png")})
    outcome, rows = run(tmp_path, labelled(tmp_path))
    assert boxes(rows["a"]) == [[1, 2, 30, 20]]
    counted = outcome.summary.labels
    assert (counted["pictures"], counted["boxes"], counted["without"], counted["unmatched"]) == (1, 1, 0, 0)


def frames(size: tuple[int, int], sides: dict[str, float], tmp_path: Path) -> None:
    found = [{"name": f"f{n}.png", "labels": [{"id": "1", "category": "car", "box2d": sides}]} for n in range(3)]
    write_files(tmp_path, {"labels.json": found, **{f"data/f{n}.png": photo(size) for n in range(3)}})


def test_labels_of_another_picture_size_are_an_error_with_the_likely_scale(tmp_path):
    frames((640, 360), {"x1": 900, "y1": 400, "x2": 1200, "y2": 700}, tmp_path)
    with pytest.raises(InputError, match=r"3 of the first 3 .* 640x360.*probably 1280x720; .*size: \[1280, 720\]"):
        run(tmp_path, labelled(tmp_path, "bdd100k"))
    assert not (tmp_path / "out").exists()
    _, rows = run(tmp_path, labelled(tmp_path, "bdd100k", size=[1280, 720]))
    assert boxes(rows["f0"]) == [[450, 200, 150, 150]]
    assert (rows["f0"]["labels"]["width"], rows["f0"]["labels"]["height"]) == (640, 360)


def test_one_box_outside_among_good_ones_is_left_out_and_named(tmp_path):
    good = [box(0, 1, 1, 5, 5) | {"id": n} for n in range(5)]
    write_files(tmp_path, {"data/a.png": photo(), "labels.json": coco([*good, box(0, 60, 1, 5, 5)], "a.png")})
    outcome, rows = run(tmp_path, labelled(tmp_path))
    assert len(boxes(rows["a"])) == 5
    (problem,) = rows["a"]["label_problems"]
    assert "lies outside the picture of 48x32" in problem
    assert outcome.summary.labels["left_out"] == 1
    assert any("1 annotation," in warning and "(a)" in warning for warning in outcome.warnings)


def test_a_folder_of_one_json_per_picture(tmp_path):
    sides = {"x1": 1, "y1": 2, "x2": 31, "y2": 22}
    for n in range(2):
        inner = {"timestamp": 0, "objects": [{"id": 1, "category": "car", "box2d": sides}]}
        files = {f"data/f{n}.png": photo(), f"labels/f{n}.json": {"name": f"f{n}", "attributes": {}, "frames": [inner]}}
        write_files(tmp_path, files)
    _, rows = run(tmp_path, {"labels": {"format": "bdd100k", "uri": str(tmp_path / "labels")}})
    assert [boxes(rows[key]) for key in ("f0", "f1")] == [[[1, 2, 30, 20]]] * 2


def test_categories_are_the_sources_own(tmp_path):
    document = coco([box(0), box(0, 20, 2, 5, 5) | {"category_id": 9}], "a.png")
    document["categories"] = [
        {"id": 1, "name": "other", "supercategory": "vehicle"},
        {"id": 9, "name": "other", "supercategory": "person"},
    ]
    write_files(tmp_path, {"data/a.png": photo(), "labels.json": document})
    _, rows = run(tmp_path, labelled(tmp_path))
    found = rows["a"]["labels"]["annotations"]
    assert [(each["category"], each["category_id"]) for each in found] == [("other", 1), ("other", 9)]
    info = read_info(Store(str(tmp_path / "out")))
    assert info is not None
    assert info.categories == document["categories"]


def test_labels_that_match_nothing_are_said_and_with_required_an_error(tmp_path):
    document = coco([box(0)], "val_a.png", "val_b.png")
    write_files(tmp_path, {"data/train_a.png": photo(), "labels.json": document})
    with pytest.raises(
        InputError, match=r"1 of the pictures \(train_a\) has no labels.*val_a\.png, val_b\.png.*required"
    ):
        run(tmp_path, labelled(tmp_path, required=True))
    assert not (tmp_path / "out").exists()
    outcome, _ = run(tmp_path, labelled(tmp_path))
    assert any("(train_a) has no labels" in warning for warning in outcome.warnings)
    counted = outcome.summary.labels
    assert (counted["pictures"], counted["without"], counted["without_names"]) == (0, 1, ["train_a"])
    assert (counted["unmatched"], counted["unmatched_names"]) == (2, ["val_a.png", "val_b.png"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 of 2 labels match no picture" in card


def test_required_labels_of_the_samples_themselves(tmp_path):
    write_files(tmp_path, {f"data/{n}.png": photo() for n in range(3)})
    with pytest.raises(InputError, match=r"the samples have no labels and source\.labels\.uri names none"):
        run(tmp_path, {"labels": {"required": True}})
    write_files(tmp_path, {"data/0.json": {"note": 1}, "data/1.json": {"labels": [], "name": "1"}, "data/2.json": "x"})
    with pytest.raises(InputError, match="2 of the first 3 samples have no labels that can be read"):
        run(tmp_path, {"labels": {"required": True}})
    write_files(tmp_path, {"data/0.json": {"labels": [], "name": "0"}})
    outcome, _ = run(tmp_path, {"labels": {"required": True}})
    assert outcome.summary.labels["pictures"] == 2


def test_status_and_plan_count_labels(tmp_path, capsys):
    from jobs.commands.plan import plan_command
    from jobs.commands.status import status_command

    write_files(tmp_path, {f"data/{n}.png": photo() for n in range(4)})
    write_files(tmp_path, {"labels.json": coco([box(0)], "0.png", *(f"x{n}.png" for n in range(5)))})
    spec = {
        "source": {"uri": str(tmp_path / "data"), **labelled(tmp_path)},
        "method": {"name": "invert"},
        "metrics": [],
    }
    (tmp_path / "job.yaml").write_text(json.dumps(spec | {"output": {"uri": str(tmp_path / "out")}}))
    plan_command(Console(as_json=True), tmp_path / "job.yaml", [], samples=None, like=None, price=None)
    planned = json.loads(capsys.readouterr().out)
    assert ["3 of the pictures" in warning for warning in planned["warnings"]] == [True]
    run_job(JobSpec.load(tmp_path / "job.yaml"), local=True)
    status_command(Console(as_json=True), str(tmp_path / "out"), errors=False)
    counted = json.loads(capsys.readouterr().out)["labels"]
    assert (counted["pictures"], counted["boxes"], counted["table"], counted["unmatched"]) == (1, 1, 6, 5)


def test_one_bad_annotation_costs_itself_or_with_strict_its_picture(tmp_path):
    document = coco([box(0), box(0, 5, 5, -2, 3), box(1)], "a.png", "b.png")
    write_files(tmp_path, {"data/a.png": photo(), "data/b.png": photo(), "labels.json": document})
    _, rows = run(tmp_path, labelled(tmp_path))
    assert boxes(rows["a"]) == [[1, 2, 30, 20]]
    assert rows["a"]["label_problems"] == ["annotations[1].bbox has a negative side (-2 x 3)"]
    strict = job(tmp_path / "data", tmp_path / "strict", max_rejects=5).as_tree()
    strict["source"] |= labelled(tmp_path, strict=True)
    outcome = run_job(JobSpec.parse(strict), local=True)
    refused = {row["key"]: row for row in index_rows(tmp_path / "strict")}["a"]
    assert (refused["status"], refused["error"]) == ("rejected", "bad_labels")
    assert "negative side" in refused["message"]
    assert outcome.summary.labels["unmatched"] == 0


def test_a_yolo_root_is_recognised(tmp_path):
    for n in range(2):
        files = {f"data/images/train/{n}.png": photo(), f"data/labels/train/{n}.txt": "0 0.5 0.5 0.25 0.25\n"}
        write_files(tmp_path, files)
    write_files(tmp_path, {"data/data.yaml": "names: [car]\n"})
    outcome, rows = run(tmp_path, {})
    assert any("taken for a yolo data set" in warning for warning in outcome.warnings)
    assert boxes(rows["images/train/0"]) == [[18, 12, 12, 8]]
    assert rows["images/train/0"]["labels"]["annotations"][0]["category"] == "car"
    assert outcome.summary.labels["unmatched"] == 0


def test_a_cityscapes_root_has_photos_and_masks(tmp_path):
    stem = "train/a/a_000000_000019"
    polygon = {"label": "car", "polygon": [[0, 0], [24, 0], [24, 16]]}
    files = {
        f"data/leftImg8bit/{stem}_leftImg8bit.png": photo(),
        f"data/gtFine/{stem}_gtFine_polygons.json": {"imgWidth": 48, "imgHeight": 32, "objects": [polygon]},
        f"data/gtFine/{stem}_gtFine_labelIds.png": label_map(3),
        f"data/gtFine/{stem}_gtFine_color.png": photo(),
    }
    write_files(tmp_path, files)
    _, rows = run(tmp_path, {"layout": "cityscapes"})
    (key,) = rows
    assert key == f"leftImg8bit/{stem}_leftImg8bit"
    assert rows[key]["labels"]["annotations"][0]["segmentation"] == [[0, 0, 24, 0, 24, 16]]
    (row,) = data_rows(tmp_path / "out").values()
    assert row["labelIds.png"] == label_map(3)
    assert "color.png" not in row


def test_other_roots(tmp_path):
    from pipeline.sources.roots import resolve_root
    from pipeline.spec import SourceSpec

    xml = "<annotation><size><width>48</width><height>32</height></size></annotation>"
    write_files(
        tmp_path / "voc", {"JPEGImages/1.jpg": photo(), "Annotations/1.xml": xml, "SegmentationClass/1.png": photo()}
    )
    write_files(tmp_path / "coco", {"val2017/1.jpg": photo(), "annotations/instances_val2017.json": coco([], "1.jpg")})
    write_files(tmp_path / "roboflow", {"train/1.jpg": photo(), "train/_annotations.coco.json": coco([], "1.jpg")})
    write_files(
        tmp_path / "bdd", {"images/100k/train/1.jpg": photo(), "labels/det_20/det_train.json": [{"name": "1.jpg"}]}
    )
    write_files(tmp_path / "plain", {"images/1.jpg": photo(), "labels/1.txt": "a street"})
    found = {}
    for name in ("voc", "coco", "roboflow", "bdd", "plain"):
        spec, _ = resolve_root(SourceSpec(uri=str(tmp_path / name)))
        found[name] = (spec.folders, spec.labels.format, (spec.labels.uri or "").removeprefix(str(tmp_path)))
    assert found == {
        "voc": (["JPEGImages"], "voc", "/voc"),
        "coco": (["val2017"], "coco", "/coco/annotations/instances_val2017.json"),
        "roboflow": (["train"], "coco", "/roboflow/train/_annotations.coco.json"),
        "bdd": (["images"], "bdd100k", "/bdd/labels/det_20"),
        "plain": ([], "auto", ""),
    }
    with pytest.raises(InputError, match="not laid out as voc: it needs JPEGImages/"):
        resolve_root(SourceSpec(uri=str(tmp_path / "coco"), layout="voc"))


def test_labels_say_what_the_translation_made(tmp_path):
    """A preset's declaration and the spec's own; the source's words stay in labels_raw."""
    frame = {"name": "a.png", "attributes": {"timeofday": "daytime", "scene": "street"}, "labels": []}
    write_files(tmp_path, {"data/a.png": photo(), "data/a.json": frame, "data/a.txt": "a street"})
    changes = {"labels": {"set": {"weather": "rainy", "lit": True}, "caption": "{caption}, at night"}}
    _, rows = run(tmp_path, changes, method__preset="night", output__format="webdataset")
    said = json.loads(rows["a"]["labels"]["attributes"])
    assert said == {"timeofday": "night", "scene": "street", "weather": "rainy", "lit": "true"}
    assert json.loads(rows["a"]["labels_raw"]) == frame
    assert rows["a"]["caption"] == "a street, at night"
    described = json.loads((tmp_path / "out/_sceneshift/job.json").read_text())["label_changes"]
    assert described["set"] == {"timeofday": "night", "weather": "rainy", "lit": "true"}
    assert "`timeofday` is set to `night`" in (tmp_path / "out/README.md").read_text()
    with pytest.raises(InputError, match=r"\{name\} is not known here"):
        run(tmp_path, {"labels": {"caption": "{name} at night"}})


def test_every_preset_that_changes_the_light_or_the_weather_says_so():
    import methods
    from methods import registry

    presets = methods.info("cyclegan_turbo").presets
    assert {name: dict(preset.labels) for name, preset in presets.items()} == {
        "day_to_night": {"timeofday": "night"},
        "night_to_day": {"timeofday": "daytime"},
        "clear_to_rainy": {"weather": "rainy"},
        "rainy_to_clear": {"weather": "clear"},
        "street_day_to_night": {"timeofday": "night"},
        "street_night_to_day": {"timeofday": "daytime"},
    }
    # of whatever method: the last word of its name that is a time of day or a weather is what its pictures show
    words = {"night": "night", "day": "daytime", "clear": "clear", "fog": "foggy", "snow": "snowy"}
    words |= {"rain": "rainy", "rainy": "rainy"}
    seen = set()
    for method, info in registry.registered().items():
        for name, preset in info.presets.items():
            said = [words[part] for part in name.split("_") if part in words]
            if said and info.implementation.startswith("methods."):
                assert list(preset.labels.values()) == said[-1:], (method, name)
                seen.add(method)
    assert seen >= {"cyclegan_turbo", "pix2pix_zero", "diffuseit", "asyrp"}


def test_a_column_that_the_translation_makes_untrue_is_named(tmp_path):
    """Columns pass through untouched; that one of them no longer holds must not go without a word."""
    write_files(tmp_path, {"a.png": photo(), "list.csv": "file,timeofday,city\na.png,daytime,Ulm\n"})
    outcome, rows = run(tmp_path, {"uri": str(tmp_path / "list.csv"), "labels": {"set": {"timeofday": "night"}}})
    assert len(rows) == 1
    (said,) = [each for each in outcome.warnings if "passed through as the source has it" in each]
    assert "column 'timeofday' (now night)" in said
    (row,) = data_rows(tmp_path / "out").values()
    assert (row["timeofday"], row["city"]) == ("daytime", "Ulm")


@pytest.mark.parametrize("annotated", [False, True])
def test_an_export_without_any_annotation_says_so(tmp_path, capsys, annotated):
    write_files(tmp_path, {"data/a.png": photo(), "labels.json": coco([box(0)], "a.png")})
    run(tmp_path, labelled(tmp_path) if annotated else {})
    target, options = str(tmp_path / "exported"), ExportOptions(format="coco", images="none")
    assert export_command(Console(False), str(tmp_path / "out"), target, options, only_labels=False) == 0
    assert ("none of them has an annotation" in capsys.readouterr().out) is not annotated


def test_labels_that_have_changed_since_are_said_and_not_counted_by_old_numbers(tmp_path: Path) -> None:
    files = {"data/b.png": photo(), "labels.json": json.dumps(coco([box(0)], "b.png")).encode()}
    write_files(tmp_path, files)
    source = {"labels": {"uri": str(tmp_path / "labels.json")}}
    assert run(tmp_path, source)[0].warnings == []
    # a.png comes first in the new table, and b.png is another number there
    write_files(tmp_path, {"labels.json": json.dumps(coco([box(0), box(1)], "a.png", "b.png")).encode()})
    again, _ = run(tmp_path, source)
    assert again.state == "nothing_to_do"
    assert "keep the labels" in again.warnings[0]
    write_files(tmp_path, {"data/a.png": photo()})
    grown, rows = run(tmp_path, source)
    assert [len(rows[key]["labels"]["annotations"]) for key in "ab"] == [1, 1]
    assert (grown.summary.labels["pictures"], grown.summary.labels["unmatched"]) == (2, None)
    assert "keep the labels" in run(tmp_path, source)[0].warnings[0]
    spec = job(tmp_path / "data", tmp_path / "out", source__labels=source["labels"])
    fresh = run_job(spec, local=True, fresh=True)
    assert (fresh.warnings, fresh.summary.labels["unmatched"]) == ([], 0)


def sequences(data: Path, folder: str, ending: str, text: str) -> None:
    """Two sequences of two pictures each, of which the last has no label file."""
    names = [f"{sequence}/{{}}/{stem}" for sequence in ("day/first", "day/second") for stem in ("a", "b")]
    write_files(data, {f"{name.format('frames')}.png": photo() for name in names})
    texts = {f"{name.format(folder)}.{ending}": text.format(number) for number, name in enumerate(names[:-1], start=1)}
    write_files(data, texts)


@pytest.mark.parametrize("processes", [1, 2])
def test_label_files_in_folders_beside_those_of_their_pictures(tmp_path, processes: int):
    corner = "<xmin>{0}</xmin><ymin>1</ymin><xmax>30</xmax><ymax>20</ymax>"
    xml = f"<annotation><object><name>car</name><bndbox>{corner}</bndbox></object></annotation>"
    sequences(tmp_path / "data", "annotations", "xml", xml)
    spec = job(tmp_path / "data", tmp_path / "out", source__labels={"uri": str(tmp_path / "data")})
    outcome = run_job(spec, local=True, processes=processes)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    lefts = {key: [left for left, *_ in boxes(row)] for key, row in rows.items() if row["labels"] is not None}
    assert lefts == {"day/first/frames/a": [0], "day/first/frames/b": [1], "day/second/frames/a": [2]}
    counted = outcome.summary.labels
    assert (counted["pictures"], counted["without"], counted["unmatched"]) == (3, 1, 0)
    said = "label files in folders called 'annotations' are taken for those of the pictures in 'frames' beside them"
    assert any(said in line for line in outcome.job.notes)
    assert not any("not read" in line for line in outcome.warnings)


def test_label_files_that_may_be_of_two_pictures_are_an_error_where_labels_are_required(tmp_path):
    sequences(tmp_path / "data", "labels", "txt", "{} 0.5 0.5 0.2 0.2\n")
    for name in ("first", "second"):
        write_files(tmp_path / "data", {f"day/{name}/images_right/{stem}.png": photo() for stem in ("a", "b")})
    wanted = {"labels": {"uri": str(tmp_path / "data"), "format": "yolo", "required": True}}
    with pytest.raises(InputError, match=r"8 of the pictures .* have no labels"):
        run(tmp_path, wanted)
    one = {"uri": str(tmp_path / "data/day/*/frames/*.png")}
    _, rows = run(tmp_path, one | {"labels": {**wanted["labels"], "uri": str(tmp_path / "data/day")}})
    classes = {key: row["labels"]["annotations"][0]["category"] for key, row in rows.items() if row["labels"]}
    assert classes == {"first/frames/a": "1", "first/frames/b": "2", "second/frames/a": "3"}
