"""The small detector: what it is shown, that it learns, and what its file gives back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.detection.small import SmallDetector, load_small
from methods.train.detector.erase import erase
from methods.train.detector.info import DetectorTrainParams
from methods.train.detector.objective import DetectorTraining
from methods.train.updates import Updates
from pipeline.records import Sample
from pipeline.training.decoded import decoded
from tests.support.datasets import encoded

CPU = torch.device("cpu")
PARAMS = DetectorTrainParams(classes=("vehicle",), merge={"car": "vehicle"}, width=8, side=64, jitter=0.0, lr=5e-3)


def squares(seed: int) -> Inputs:
    """A dark picture with one or two bright squares, which are cars."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), (20, 20, 30))
    draw, boxes = ImageDraw.Draw(image), []
    for left in (4, 36)[: 1 + seed % 2]:
        x, y = left + int(random.integers(0, 6)), int(random.integers(4, 34))
        draw.rectangle((x, y, x + 19, y + 19), fill=(250, 240, 60))
        boxes.append(("car", (float(x), float(y), 20.0, 20.0)))
    return Inputs(f"s{seed}", np.asarray(image), None, {"boxes": boxes})


def training() -> DetectorTraining:
    torch.manual_seed(0)
    return DetectorTraining.build(PARAMS, CPU, torch.float32, 60)


def test_boxes_follow_the_mirror_and_the_size_and_small_or_foreign_ones_are_background() -> None:
    objective = training()
    picture = np.zeros((128, 192, 3), np.uint8)
    boxes = [("car", (10.0, 20.0, 40.0, 30.0)), ("car", (0.0, 0.0, 4.0, 40.0)), ("tree", (0.0, 0.0, 60.0, 60.0))]
    found = set()
    for seed in range(12):
        sample = objective.transform(
            "labelled", Inputs("k", picture, None, {"boxes": boxes}), np.random.default_rng(seed)
        )
        image, target = sample["image"], sample["boxes"]
        assert isinstance(image, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        assert image.shape == (3, 64, 96)
        assert (target[:, 4] >= 0).sum() == 1
        found.add(tuple(target[0].tolist()))
    assert found == {(5.0, 10.0, 25.0, 25.0, 0.0), (71.0, 10.0, 91.0, 25.0, 0.0)}


def test_boxes_that_are_painted_over_are_background() -> None:
    objective = DetectorTraining.build(PARAMS.model_copy(update={"erase": 0.5}), CPU, torch.float32, 60)
    for seed in range(24):
        own = squares(seed)
        sample = objective.transform("labelled", own, np.random.default_rng(seed))
        image, target = sample["image"], sample["boxes"]
        assert isinstance(image, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        left = {tuple(row[:4].round().int().tolist()) for row in target[target[:, 4] >= 0]}
        bright = (image[0] > 0.9) & (image[1] > 0.9) & (image[2] < 0.3)
        assert int(bright.sum()) == 400 * len(left)
        for x0, y0, x1, y1 in left:
            assert bright[y0:y1, x0:x1].all()


def test_paint_over_a_neighbour_takes_its_object_too() -> None:
    corners = np.array([[10.0, 10, 40, 40], [12, 12, 30, 30], [50, 50, 60, 60]])
    seen = set()
    for seed in range(40):
        image = np.full((64, 64, 3), 255, np.uint8)
        gone = erase(image, corners, 0.4, np.random.default_rng(seed))
        seen.add(tuple(gone.tolist()))
        if gone[0]:
            assert gone[1]
            assert not (image[31:40, 31:40] == 255).all()
        assert (image[50:60, 50:60] == 255).all() == (not gone[2])
    assert {(False,) * 3, (True,) * 3, (True, True, False), (False, True, False)} <= seen
    assert not erase(np.zeros((8, 8, 3), np.uint8), np.zeros((0, 4)), 0.9, np.random.default_rng(0)).size


def test_samples_without_boxes_are_refused_and_empty_records_are_background() -> None:
    objective, picture = training(), np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(BadSample, match="no label record"):
        objective.transform("labelled", Inputs("k", picture), np.random.default_rng(0))
    sample = objective.transform("labelled", Inputs("k", picture, None, {"boxes": []}), np.random.default_rng(0))
    assert isinstance(sample["boxes"], torch.Tensor)
    assert (sample["boxes"] == -1).all()


def test_the_loader_reads_boxes_of_a_label_record() -> None:
    record = {"labels": [{"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 11, "y2": 22}}], "name": "a.jpg"}
    image = encoded(np.zeros((32, 32, 3), np.uint8), "PNG")
    sample = Sample("a", "x", image=image, labels_raw=json.dumps(record))
    assert decoded(sample).columns["boxes"] == [("car", (1.0, 2.0, 10.0, 20.0))]
    assert "boxes" not in decoded(Sample("a", "x", image=image, labels_raw='{"exposure": 3}')).columns


def test_it_learns_and_its_file_finds_the_same(tmp_path: Path) -> None:
    objective = training()
    random = np.random.default_rng(1)
    samples = [objective.transform("labelled", squares(seed), random) for seed in range(32)]
    held_out = [objective.transform("labelled", squares(seed), random) for seed in range(100, 108)]
    for step in range(60):
        batch = [samples[(8 * step + number) % 32] for number in range(8)]
        tensors = {name: torch.stack([torch.as_tensor(each[name]) for each in batch]) for name in ("image", "boxes")}
        objective.step({"labelled": tensors}, step, torch.Generator(), Updates())
    said = objective.validate({"labelled": held_out}).metrics
    assert said["recall"] >= 0.9
    assert said["precision"] >= 0.8
    file = objective.export(tmp_path / "detector.safetensors", None, {"about": "squares"})
    detector = load_small(file)
    assert detector.classes == ("vehicle",)
    assert detector.aliases == {"car": "vehicle"}
    inputs = squares(201)
    assert inputs.image is not None
    large = np.asarray(Image.fromarray(inputs.image).resize((128, 128), Image.Resampling.NEAREST))
    small, twice = detector.detect([inputs.image, large], 0.3)
    assert len(small) == len(twice) == 2
    wanted = sorted([x, y, x + w, y + h] for _, (x, y, w, h) in inputs.columns["boxes"])
    assert np.abs(np.array(sorted(small.boxes.tolist())) - np.array(wanted)).max() < 4
    assert np.abs(twice.boxes / 2 - small.boxes).max() < 3
    (alone,) = detector.detect([large], 0.3)
    assert np.array_equal(alone.boxes, twice.boxes)


def test_other_files_are_refused(tmp_path: Path) -> None:
    detector = SmallDetector(("vehicle",), {}, 8, 64)
    file = detector.save(tmp_path / "d.safetensors", detector.state_dict(), {})
    assert load_small(file).side == 64
    objective = training()
    with pytest.raises(InputError, match="safetensors"):
        objective.export(tmp_path / "d.pt", None, {})
    other = SmallDetector(("vehicle",), {}, 16, 64)
    detector.save(tmp_path / "e.safetensors", other.state_dict(), {})
    with pytest.raises(InputError, match=r"e\.safetensors"):
        load_small(tmp_path / "e.safetensors")
