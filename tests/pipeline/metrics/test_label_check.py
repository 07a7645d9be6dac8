"""Labels checked in whole jobs, and any detector behind one interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.errors import InputError
from methods.nn.detection.base import Detections
from methods.nn.detection.load import load_detector
from methods.nn.detection.small import SmallDetector
from pipeline.metrics.label_check import LabelCheck
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import picture
from tests.support.jobs import index_rows, job
from tests.support.labelled import write_labelled


class Pixels:
    """Finds one vehicle where a picture is dark on the whole, and one boat where it is bright."""

    classes = ("person", "boat", "véhicule 車")
    aliases: dict[str, str] = {}  # noqa: RUF012

    def detect(self, pictures: list[np.ndarray], score: float) -> list[Detections]:
        dark = [each.mean() < 128 for each in pictures]
        boxes = [(0, 0, 64, 48) if found else (70, 70, 90, 90) for found in dark]
        return [
            Detections(np.array([box], float), np.array([0.9]), ("véhicule 車" if found else "boat",))
            for box, found in zip(boxes, dark, strict=True)
        ]


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
    assert f"{sum(table['invented'].values())} were invented" in card
    assert "gives a score of 0.3 or more" in card
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Do the labels hold" in page
    assert "detector.safetensors looked at source and output" in page


def test_a_filter_on_the_check_does_not_hide_what_it_dropped(tmp_path: Path, detector: str) -> None:
    outcome, rows = checked(tmp_path, detector, method__name="invert", keep="labels.survival >= 0.9")
    dropped = [row for row in rows.values() if row["status"] == "filtered"]
    seen = sum(row["metric.labels.found_before"] for row in dropped)
    lost = seen - sum(row["metric.labels.held"] for row in dropped)
    assert lost > 0
    table = outcome.summary.label_check
    assert table["filtered"]["lost"] + table["filtered"]["class_changed"] == lost
    said = f"In those that a filter dropped, {lost:.0f} of {seen:.0f} objects"
    for file in ("README.md", "report/index.html"):
        assert said in (tmp_path / "out" / file).read_text()


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
