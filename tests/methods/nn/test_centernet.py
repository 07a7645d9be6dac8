"""A CenterNet of a graph model as a detector: a tiny one made by hand, which calls red blocks cars."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.errors import InputError
from methods.nn.detection.centernet import CenterNet, coco_classes, letterboxed, peaks
from methods.nn.detection.load import load_detector
from methods.nn.detection.names import known_as
from tests.support.graph_models import FLOAT, node, placeholder, whole, word, words, write_graph

CAR, LEFT, TOP, RIGHT, BOTTOM = 2, 5.0, 3.0, 9.0, 7.0


def tiny(folder: Path, classes: int = 80) -> Path:
    """32 x 32 pixels, a place for each block of 4: how red it is says how likely it is the centre of a car."""
    kernel = np.zeros((4, 4, 3, classes), np.float32)
    kernel[:, :, 0, CAR] = 20 / 255 / 16
    kernel[:, :, 1:, CAR] = -20 / 255 / 16
    how = {
        "T": FLOAT,
        "strides": whole(1, 4, 4, 1),
        "padding": word("VALID"),
        "fused_ops": words("BiasAdd"),
        "num_args": {"i": "1"},
    }
    nodes = [
        placeholder("tower_0/images", (1, 32, 32, 3)),
        node("score", "_FusedConv2D", ["tower_0/images", "kernel", "bias"], **how),
        node("likely", "Sigmoid", ["score"], T=FLOAT),
        node("tower_0/keypoints", "Identity", ["likely"], T=FLOAT),
        node("tower_0/wh", "_FusedConv2D", ["tower_0/images", "nothing", "far"], **how),
    ]
    constants = {
        "kernel": kernel,
        "bias": np.full(classes, -10, np.float32),
        "nothing": np.zeros((4, 4, 3, 4), np.float32),
        "far": np.array([LEFT, TOP, RIGHT, BOTTOM], np.float32),
    }
    return write_graph(folder / "tiny.json", nodes, constants)


def red(width: int, height: int, *blocks: tuple[int, int, int]) -> np.ndarray:
    """A grey picture with a red square at left, top of a side."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for left, top, side in blocks:
        picture[top : top + side, left : left + side] = (255, 0, 0)
    return picture


def test_objects_are_found_in_the_picture_s_own_pixels(tmp_path: Path) -> None:
    detector = load_detector(str(tiny(tmp_path)), None, "cpu", {"van": "car"})
    assert len(detector.classes) == 80
    assert known_as("pedestrian", detector.classes) == "person"
    square = red(32, 32, (12, 16, 4))
    wide = red(128, 64, (64, 16, 16), (0, 0, 16))  # a quarter of it, in the middle of the square: 8 pixels lower
    upright = red(16, 32, (4, 4, 4))
    nothing = red(40, 40)
    found = detector.detect([square, wide, upright, nothing], 0.5)
    assert [each.classes for each in found] == [("car",), ("car", "car"), ("car",), ()]
    # in the square picture the box lies around the place of the block
    assert found[0].boxes.tolist() == [[12 - LEFT, 16 - TOP, 12 + RIGHT, 16 + BOTTOM]]
    assert found[0].scores == pytest.approx([1 / (1 + np.exp(-10))])
    # the other is four times as large, its first box cut at the border
    assert found[1].boxes.tolist() == [
        [0, 0, 4 * RIGHT, 4 * BOTTOM],
        [64 - 4 * LEFT, 16 - 4 * TOP, 64 + 4 * RIGHT, 16 + 4 * BOTTOM],
    ]


def test_a_result_does_not_depend_on_pictures_beside_it(tmp_path: Path) -> None:
    detector = load_detector(str(tiny(tmp_path)), None, "cpu", {})
    pictures = [red(32, 32, (8, 8, 4)), red(50, 20, (20, 5, 10)), red(200, 300, (60, 90, 60))]
    together = detector.detect(pictures, 0.1)
    for picture, one in zip(pictures, together, strict=True):
        (alone,) = detector.detect([picture], 0.1)
        assert np.array_equal(alone.boxes, one.boxes)
        assert np.array_equal(alone.scores, one.scores)
        assert list(one.scores) == sorted(one.scores, reverse=True)


def test_only_what_no_neighbour_rises_above_is_a_peak() -> None:
    centres = torch.zeros(6, 7, 2)
    centres[2, 3, 0], centres[2, 4, 0], centres[4, 6, 0] = 0.8, 0.7, 0.5
    centres[2, 4, 1] = 0.6  # of another class
    sides = torch.arange(6 * 7 * 4).reshape(6, 7, 4).float()
    boxes, scores, classes = peaks(centres, sides, 0.4, 4)
    assert scores == pytest.approx([0.8, 0.6, 0.5])
    assert classes.tolist() == [0, 1, 0]
    left, top, right, bottom = sides[2, 3].tolist()
    assert boxes[0].tolist() == [12 - left, 8 - top, 12 + right, 8 + bottom]
    assert len(peaks(torch.rand(64, 64, 80), torch.ones(64, 64, 4), 0.0, 4)[0]) == 100
    assert len(peaks(centres, sides, 0.9, 4)[0]) == 0


def test_the_aspect_is_kept() -> None:
    picture = red(100, 50, (0, 0, 50))
    square, scale, left, top = letterboxed(picture, 64)
    assert (square.shape, scale, left, top) == ((64, 64, 3), 0.64, 0, 16)
    assert not square[:16].any()
    assert not square[48:].any()
    assert square[17:47, 2:30].tolist() == [[[255, 0, 0]] * 28] * 30
    thin, scale, left, top = letterboxed(red(1, 1000), 64)
    assert (thin.shape, left, top) == ((64, 64, 3), 31, 0)


def test_the_classes_of_coco() -> None:
    assert (coco_classes()[0], coco_classes()[2], coco_classes()[11], coco_classes()[-1]) == (
        "person",
        "car",
        "stop sign",
        "toothbrush",
    )


def test_other_graphs_are_no_detectors(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(InputError, match="knows 7 classes, and only the 80 of COCO are read"):
        CenterNet(tiny(tmp_path, classes=7), cpu)
    path = tiny(tmp_path)
    text = path.read_text()
    for before, after, says in (
        ("keypoints", "points", "no node is called 'keypoints'"),
        ('"likely"', '"tower_1/wh"', "two nodes are called 'wh'"),
        ('"size": "32"', '"size": "35"', "no CenterNet: takes"),
    ):
        path.write_text(text.replace(before, after))
        with pytest.raises(InputError, match=says) as error:
            CenterNet(path, cpu)
        assert "\n" not in str(error.value)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"no detector of .* and no|no graph model of TensorFlow\.js"):
        load_detector(str(path), None, "cpu", {})
