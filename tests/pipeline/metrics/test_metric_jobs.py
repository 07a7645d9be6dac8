"""Metrics with parameters in whole jobs: what they find, where it is written, and what is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
import torchvision

from methods.errors import InputError
from pipeline.job import weight_uris
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.jobs import index_rows, job
from tests.support.labelled import write_labelled

HEADS = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"


def labelled_job(tmp_path: Path, metrics: list[Any], **changes: Any) -> JobSpec:
    folder, labels = write_labelled(tmp_path / "in")
    return job(folder, tmp_path / "out", source__labels={"uri": str(labels)}, metrics=metrics, **changes)


def test_what_is_found_in_boxes_stands_with_the_annotation(tmp_path: Path) -> None:
    spec = labelled_job(tmp_path, ["label_change", "colour"], keep="label_colour > 0 or colour_l >= 0")
    run_job(spec, local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    first, second = rows["a"]["labels"]["annotations"]
    for each in (first, second):
        said = json.loads(each["attributes"])["sceneshift"]
        assert said["colour"] > 0
        assert 0 <= said["structure"] <= 1
    assert rows["a"]["metric.label_colour"] > 0
    assert rows["empty"]["metric.label_colour"] is None
    assert rows["empty"]["metric.brightness_ratio"] > 0


def test_weights_come_by_uri_and_decide_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    network = torchvision.models.alexnet(num_classes=2)
    torch.save(network.features.state_dict(prefix="features."), tmp_path / "alex.pth")
    entry = {"lpips": {"weights": "$WEIGHTS/alex.pth", "heads": str(HEADS)}}
    spec = labelled_job(tmp_path, [entry], variants=2, keep="lpips > 0")
    assert weight_uris(spec) == (str(tmp_path / "alex.pth"), str(HEADS))
    first = run_job(spec, local=True).job
    rows = index_rows(tmp_path / "out")
    assert len(rows) == 12
    assert all(row["metric.lpips"] > 0 for row in rows)
    assert sorted(first.metric_weights) == sorted([str(tmp_path / "alex.pth"), str(HEADS)])
    assert run_job(spec, local=True).state == "nothing_to_do"
    torch.save({name: value + 1 for name, value in network.state_dict().items()}, tmp_path / "alex.pth")
    with pytest.raises(InputError, match="weights"):
        run_job(spec, local=True)


def test_weights_that_cannot_be_had_are_named_before_anything_is_translated(tmp_path: Path) -> None:
    spec = labelled_job(tmp_path, ["psnr", {"lpips": {"weights": str(tmp_path / "nowhere.pth"), "heads": str(HEADS)}}])
    with pytest.raises(InputError, match=r"metric 'lpips'.*nowhere.pth.*sceneshift weights pull"):
        run_job(spec, local=True)
    assert not (tmp_path / "out").exists()


def test_two_metrics_of_one_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'lpips' is measured twice"):
        run_job(labelled_job(tmp_path, ["lpips", {"lpips": {"network": "alex"}}]), local=True)
    with pytest.raises(InputError, match="listed twice"):
        labelled_job(tmp_path, ["psnr", "psnr"])
