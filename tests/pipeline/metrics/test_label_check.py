"""Labels checked in whole jobs, and any detector behind one interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.commands.run import run_command
from jobs.console import Console
from methods.counting import counted, does
from methods.errors import InputError
from methods.nn.detection.base import Detections
from methods.nn.detection.load import load_detector
from methods.nn.detection.small import SmallDetector
from pipeline.metrics.label_check import LabelCheck
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import picture, street_samples, write_tar
from tests.support.jobs import index_rows, job
from tests.support.labelled import write_labelled


class Pixels:
    """Finds one vehicle where a picture is dark on the whole, else a person and a boat, which no label has."""

    classes = ("person", "boat", "véhicule 車")
    aliases: dict[str, str] = {}  # noqa: RUF012

    def detect(self, pictures: list[np.ndarray], score: float) -> list[Detections]:
        dark = [each.mean() < 128 for each in pictures]
        car = Detections(np.array([(0.0, 0, 64, 48)]), np.array([0.9]), ("véhicule 車",))
        corners = np.array([(70.0, 70, 90, 90), (100, 70, 120, 90)])
        others = Detections(corners, np.array([0.9, 0.8]), ("person", "boat"))
        return [car if each else others for each in dark]


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of a detector whose place another one takes."""
    small = SmallDetector(("person",), {}, 8, 64)
    monkeypatch.setattr(LabelCheck, "load", lambda self: Pixels())
    return str(small.save(tmp_path / "detector.safetensors", small.state_dict(), {}))


def checked(tmp_path: Path, detector: str, **changes: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    folder, labels = write_labelled(tmp_path / "in")
    source = {"uri": str(labels), "check": {"detector": detector}}
    outcome = run_job(job(folder, tmp_path / "out", source__labels=source, **changes), local=True)
    return outcome, {row["key"]: row for row in index_rows(tmp_path / "out")}


def test_what_the_detector_says_stands_in_the_index(tmp_path: Path, detector: str) -> None:
    outcome, rows = checked(tmp_path, detector, method__name="invert")
    whole = rows["ünï 車"]
    (annotation,) = whole["labels"]["annotations"]
    said = json.loads(annotation["attributes"])["sceneshift"]
    before = whole["metric.labels.found_before"]
    assert said["found_before"] == bool(before)
    assert whole["metric.labels.survival"] in (0.0, 1.0)
    assert sum(row["metric.labels.invented"] for row in rows.values()) > 0
    table = outcome.summary.label_check
    assert table["classes"]["véhicule 車"]["checked"] > 0
    assert table["all"]["found_before"] == sum(row["metric.labels.found_before"] for row in rows.values())
    labelled = [row for row in rows.values() if row["labels"] is not None]
    drawn = [json.loads(json.loads(row["labels"]["attributes"]).get("sceneshift.invented", "[]")) for row in labelled]
    assert [len(each) for each in drawn] == [row["metric.labels.invented"] for row in labelled]
    assert sum(table["invented"].values()) == sum(map(len, drawn))
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| `véhicule 車` | {table['classes']['véhicule 車']['boxes']} |" in card
    invented = sum(table["invented"].values())
    assert f"{invented} {does(invented, 'was/were')} invented" in card
    assert "gives a score of 0.3 or more" in card
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Do the labels hold" in page
    assert "detector.safetensors looked at source and output" in page
    # what the check found is no attribute of the source
    assert "sceneshift.invented of the source" not in page
    assert "<dt>labels.invented</dt><dd>0</dd>" in page or "<dt>labels.invented</dt><dd>1</dd>" in page


def test_a_filter_on_the_check_does_not_hide_what_it_dropped(tmp_path: Path, detector: str) -> None:
    outcome, rows = checked(tmp_path, detector, method__name="invert", keep="labels.survival >= 0.9")
    dropped = [row for row in rows.values() if row["status"] == "filtered"]
    seen = sum(row["metric.labels.found_before"] for row in dropped)
    lost = seen - sum(row["metric.labels.held"] for row in dropped)
    assert lost > 0
    table = outcome.summary.label_check
    assert table["filtered"]["lost"] + table["filtered"]["class_changed"] == lost
    said = f"In those that a filter dropped, {lost:.0f} of {counted(int(seen), 'object')}"
    for file in ("README.md", "report/index.html"):
        assert said in (tmp_path / "out" / file).read_text()


def test_what_is_not_compared_is_said_by_class(tmp_path: Path, detector: str) -> None:
    outcome, _ = checked(tmp_path, detector, method__name="invert")
    found = outcome.summary.label_check["uncompared"]
    assert set(found) == {"boat"}
    assert "boat" not in outcome.summary.label_check["invented"]
    are = does(found["boat"], "is/are")
    said = f"{counted(found['boat'], 'object')} found in the output alone {are} of classes that are not compared"
    compared = "Compared are person, unused, véhicule 車, as far as the detector knows them"
    for file in ("README.md", "report/index.html"):
        text = (tmp_path / "out" / file).read_text()
        assert said in text
        assert f"boat ({found['boat']})" in text
        assert compared in text
    assert not [note for note in outcome.job.notes if "labels.check" in note]


@pytest.mark.parametrize(
    ("category", "said"),
    [
        ("person", "none of 2 checked objects in the source"),
        ("llama", "of a class that the detector does not know"),
        (None, "No labelled object could be compared"),
    ],
)
def test_a_run_ends_with_what_was_found(
    tmp_path: Path, detector: str, category: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing could be compared survival is 1 everywhere, and a filter on it keeps all: that is said."""
    samples = street_samples(["a", "b"])
    for members in samples.values():
        box = {"bbox": [4.0, 4, 20, 20], "category_id": 1, "category": category, "area": 400, "iscrowd": 0}
        if category is not None:
            members["json"] = json.dumps({"annotations": [box]}).encode()
    write_tar(tmp_path / "in" / "a.tar", samples)
    spec = job(tmp_path / "in", tmp_path / "out", source__labels={"check": {"detector": detector}})
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(spec.as_tree()))
    assert run_command(Console(False), file, [], local=True, fresh=False, steal_lock=False) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "do the labels hold" in printed
    for text in (printed, (tmp_path / "out" / "README.md").read_text()):
        assert said in text
        assert ("No labelled object could be compared" in text) == (category != "person")


def test_classes_restrict_the_check(tmp_path: Path, detector: str) -> None:
    folder, labels = write_labelled(tmp_path / "in")
    check = {"detector": detector, "classes": ["person"]}
    source = {"uri": str(labels), "check": check}
    table = run_job(job(folder, tmp_path / "out", source__labels=source), local=True).summary.label_check
    assert table is not None
    assert table["classes"]["véhicule 車"]["unchecked"] == {"left out": table["classes"]["véhicule 車"]["boxes"]}
    assert "of classes that labels.check.classes leaves out" in (tmp_path / "out" / "README.md").read_text()
    source["check"] = check | {"classes": ["persn"]}
    with pytest.raises(InputError, match=r"labels.check.classes: the labels have no 'persn': did you mean 'person'"):
        run_job(job(folder, tmp_path / "other", source__labels=source), local=True)


def test_labels_and_a_detector_without_a_common_class_are_refused(tmp_path: Path) -> None:
    small = SmallDetector(("boat", "person"), {}, 8, 64)
    own = str(small.save(tmp_path / "own.safetensors", small.state_dict(), {}))
    folder, labels = write_labelled(tmp_path / "in")
    document = json.loads(labels.read_text())
    document["categories"] = [each | {"name": f"x{each['id']}"} for each in document["categories"]]
    labels.write_text(json.dumps(document))
    source: dict[str, Any] = {"uri": str(labels), "check": {"detector": own}}
    with pytest.raises(InputError, match=r"none of the labels' classes \(x3, x44, x7\), but boat, person") as error:
        run_job(job(folder, tmp_path / "out", source__labels=source), local=True)
    assert "\n" not in str(error.value)
    source["check"] |= {"map": {"x3": "person"}}
    run_job(job(folder, tmp_path / "out", source__labels=source), local=True)
    source["check"] = {"detector": own, "classes": ["x7"]}
    with pytest.raises(InputError, match=r"labels.check.classes: the detector knows no 'x7': known: boat, person"):
        run_job(job(folder, tmp_path / "other", source__labels=source), local=True)


def test_lost_boxes_are_flagged_on_request_and_never_dropped(tmp_path: Path, detector: str) -> None:
    outcome, rows = checked(tmp_path, detector, method__name="invert")
    lost = {
        each["id"]
        for row in rows.values()
        for each in (row["labels"] or {"annotations": []})["annotations"]
        if json.loads(each["attributes"])["sceneshift"].get("held") is False
    }
    assert lost
    counts = set()
    for flagged in (False, True):
        target = Store(str(tmp_path / f"export-{flagged}"))
        export_folder(outcome.job, target, ExportOptions(images="none", ignore_lost=flagged))
        made = json.loads(target.read("annotations/instances_train.json"))["annotations"]
        counts.add(len(made))
        assert sum(each.get("ignore", 0) for each in made) == (len(lost) if flagged else 0)
    assert len(counts) == 1
    with pytest.raises(InputError, match="--ignore-lost: yolo has no place for it"):
        ExportOptions("yolo", ignore_lost=True).check()


def test_a_method_that_changes_nothing_loses_and_invents_nothing(tmp_path: Path, detector: str) -> None:
    outcome, rows = checked(
        tmp_path, detector, method__name="null", keep="labels.survival >= 0.9 and labels.invented == 0"
    )
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {row["metric.labels.survival"] for row in rows.values()} == {1.0}
    assert {row["metric.labels.invented"] for row in rows.values()} == {0.0}
    assert outcome.summary.label_check["all"]["lost"] == 0


def test_a_detector_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, file)
    for uri, network, names, said in (
        (str(file), None, {}, "no detector of `sceneshift train`"),
        (str(file), "fcos_resnet51_fpn", {}, "did you mean 'fcos_resnet50_fpn'"),
        (str(file), "ssdlite320_mobilenet_v3_large", {}, "not torchvision's ssdlite320"),
        (str(tmp_path / "nowhere"), None, {}, "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            load_detector(uri, network, "cpu", names)
    small = SmallDetector(("person",), {}, 8, 64)
    own = str(small.save(tmp_path / "own.safetensors", small.state_dict(), {}))
    with pytest.raises(InputError, match="rider: the detector knows no 'persn': did you mean 'person'"):
        load_detector(own, None, "cpu", {"rider": "persn"})
    folder, labels = write_labelled(tmp_path / "in")
    source = {"uri": str(labels), "check": {"detector": str(tmp_path / "nowhere.pth")}}
    with pytest.raises(InputError, match=r"metric 'label_check'.*nowhere.*sceneshift weights pull"):
        run_job(job(folder, tmp_path / "out", source__labels=source), local=True)


def test_detectors_of_torchvision_and_transformers_answer_alike(tmp_path: Path) -> None:
    from torchvision.models import get_model
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    name = "ssdlite320_mobilenet_v3_large"
    network = get_model(name, weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "ssd.pth")
    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 64],
        num_detection_tokens=5,
        id2label={0: "car", 1: "person"},
    )
    YolosForObjectDetection(config).save_pretrained(tmp_path / "yolos")
    YolosImageProcessor(size={"height": 64, "width": 64}, do_pad=False).save_pretrained(tmp_path / "yolos")
    pictures = [picture(0, (80, 60)), picture(1, (64, 64))]
    ssd = load_detector(str(tmp_path / "ssd.pth"), name, "cpu", {})
    assert {"person", "car", "traffic light"} <= set(ssd.classes)
    assert not {"N/A", "__background__"} & set(ssd.classes)
    yolos = load_detector(str(tmp_path / "yolos"), None, "cpu", {})
    assert yolos.classes == ("car", "person")
    for detector in (ssd, yolos):
        found = detector.detect(pictures, 0.0)
        assert len(found) == 2
        for each in found:
            assert each.boxes.shape == (len(each), 4)
            assert len(each) > 0
            assert list(each.scores) == sorted(each.scores, reverse=True)
            assert set(each.classes) <= set(detector.classes) | {"__background__", "N/A"}
        (alone,) = detector.detect(pictures[1:], 0.0)
        assert np.array_equal(alone.boxes, found[1].boxes)
