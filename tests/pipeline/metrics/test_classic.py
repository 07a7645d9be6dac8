"""Metrics without weights, against their definitions and the library they are named after."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from pipeline.labels import Labels
from pipeline.labels.records import Annotation
from pipeline.metrics import Pictures, build
from pipeline.metrics.lab import to_lab


def picture(seed: int, size: tuple[int, int] = (192, 176), detail: int = 12) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (detail, detail, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def values(name: str, source: np.ndarray, output: np.ndarray, target: np.ndarray | None = None) -> dict[str, float]:
    measured = build([name])[0].measure(Pictures([source], [output], [target]))
    return {column: column_values[0] for column, column_values in measured.values.items()}


def test_ms_ssim_is_that_of_torchmetrics() -> None:
    a = picture(0, (211, 177))
    b = np.clip(a.astype(float) * 0.6 + np.random.default_rng(1).normal(0, 12, a.shape), 0, 255).astype(np.uint8)
    first, second = (torch.from_numpy(each.copy()).permute(2, 0, 1)[None].float() / 255 for each in (b, a))
    expected = float(multiscale_structural_similarity_index_measure(first, second, data_range=1.0))
    found = values("ms_ssim", a, b)
    assert found["ms_ssim"] == pytest.approx(expected, abs=2e-5)
    assert 0.3 < expected < 0.99
    assert math.isnan(found["ms_ssim_target"])
    assert values("ms_ssim", a, a, a) == {"ms_ssim": pytest.approx(1), "ms_ssim_target": pytest.approx(1)}
    assert math.isnan(values("ms_ssim", picture(0, (160, 300)), picture(1, (160, 300)))["ms_ssim"])


def test_lab_is_that_of_opencv_and_of_the_standard() -> None:
    pixels = picture(3, (40, 30))
    expected = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    # OpenCV reads its curves from tables
    assert np.abs(to_lab(pixels) - expected).max() < 0.5
    primaries = to_lab(np.diag([255] * 3).astype(np.uint8))
    published = [[53.2408, 80.0925, 67.2032], [87.7347, -86.1827, 83.1793], [32.2970, 79.1875, -107.8602]]
    assert primaries == pytest.approx(np.array(published), abs=0.02)
    assert to_lab(np.full((1, 3), 255, np.uint8))[0] == pytest.approx([100, 0, 0], abs=1e-2)
    assert to_lab(np.zeros((1, 3), np.uint8))[0] == pytest.approx([0, 0, 0], abs=1e-5)


def test_a_night_that_is_not_dark_is_found() -> None:
    day = picture(0)
    night = (day * 0.2).astype(np.uint8)
    dark, same = values("colour", day, night), values("colour", day, day)
    assert same["brightness_ratio"] == 1
    assert same["colour_shift"] == 0
    assert dark["brightness_ratio"] < 0.4
    assert dark["colour_l"] == pytest.approx(same["colour_l"] * dark["brightness_ratio"], rel=1e-6)
    assert dark["colour_l_std"] < same["colour_l_std"]
    red = values("colour", day, np.full_like(day, (200, 0, 0)))
    assert red["colour_a"] > 50
    assert red["colour_a_std"] < 1e-3


def test_sharpness_falls_with_blur_and_not_with_light() -> None:
    sharp = picture(0, detail=60)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    assert values("sharpness", sharp, blurred)["sharpness_ratio"] < 0.3
    assert values("sharpness", sharp, sharp // 2)["sharpness_ratio"] == pytest.approx(1, abs=0.06)
    assert math.isnan(values("sharpness", np.full_like(sharp, 9), sharp)["sharpness_ratio"])
    assert values("sharpness", sharp, np.zeros_like(sharp))["sharpness"] == 0


def test_change_inside_label_boxes() -> None:
    source = picture(0, (64, 48), 16)
    output = source // 2
    output[10:30, 40:60] = picture(8, (20, 20), 16)
    boxes = [(5.0, 5.0, 20.0, 20.0), (40.0, 10.0, 20.0, 20.0), (1.0, 1.0, 2.0, 2.0), None]
    labels = Labels(64, 48, [Annotation("car", bbox=box) for box in boxes])
    pictures = replace(Pictures([source] * 2, [output] * 2, [None] * 2), labels=[labels, None])
    measured = build(["label_change"])[0].measure(pictures)
    kept, repainted, small, without = measured.annotations[0]
    assert kept["structure"] == pytest.approx(0, abs=0.05)
    assert repainted["structure"] > 0.5
    assert kept["colour"] > 5
    assert small == without == {}
    assert measured.annotations[1] == []
    assert measured.values["label_structure"][0] == repainted["structure"]
    assert measured.values["label_colour"][0] == pytest.approx((kept["colour"] + repainted["colour"]) / 2)
    assert math.isnan(measured.values["label_structure"][1])


def test_light_and_dark_may_change_places_in_a_box_and_flat_ones_say_nothing_of_edges() -> None:
    source = picture(0, (32, 32))
    labels = Labels(32, 32, [Annotation("window", bbox=(0, 0, 32, 32))])
    metric = build(["label_change"])[0]
    inverted = metric.measure(replace(Pictures([source], [255 - source], [None]), labels=[labels]))
    assert inverted.values["label_structure"][0] == pytest.approx(0, abs=1e-6)
    flat = metric.measure(replace(Pictures([np.full_like(source, 99)], [source], [None]), labels=[labels]))
    assert "structure" not in flat.annotations[0][0]
    gone = metric.measure(replace(Pictures([source], [np.full_like(source, 99)], [None]), labels=[labels]))
    assert gone.annotations[0][0]["structure"] == 1
