"""PSNR and SSIM against torchmetrics, and what they say at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from pipeline.metrics import Pictures, build
from pipeline.metrics.psnr import psnr
from pipeline.metrics.ssim import downsampled, ssim


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noisy(pixels: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (11, 11), (6, 7), (12, 200), (65, 31), (133, 20)])
def test_same_as_torchmetrics(size: tuple[int, int]) -> None:
    import torch
    from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    for seed in range(3):
        a = picture(seed, *size)
        for b in (noisy(a, 12), 255 - a, picture(seed + 10, *size), np.zeros_like(a)):
            x, y = (torch.from_numpy(each.copy()).permute(2, 0, 1)[None].double() / 255 for each in (a, b))
            assert ssim(a, b) == pytest.approx(float(StructuralSimilarityIndexMeasure(data_range=1.0)(x, y)), abs=2e-5)
            assert psnr(a, b) == pytest.approx(float(PeakSignalNoiseRatio(data_range=1.0)(x, y)), abs=1e-4)


@pytest.mark.parametrize(("size", "factor"), [((300, 420), 1), ((512, 700), 2), ((720, 1280), 3)])
def test_downsampled_as_the_authors_program_does_it(size: tuple[int, int], factor: int) -> None:
    pixels = noisy(picture(5, *size), 9)
    found = downsampled(pixels)
    assert found.shape == (-(-size[0] // factor), -(-size[1] // factor), 3)
    # symmetric edges, the middle of an even square towards its end, one of `factor` pixels kept
    before = (factor - 1) // 2
    wide = np.pad(pixels.astype(np.float64), [(before, factor - 1 - before)] * 2 + [(0, 0)], mode="symmetric")
    for row, column in ((0, 0), (1, 2), (found.shape[0] - 1, found.shape[1] - 1)):
        y, x = row * factor, column * factor
        mean = wide[y : y + factor, x : x + factor].mean((0, 1))
        np.testing.assert_allclose(found[row, column], mean, atol=1e-3)


def test_equal_and_opposite_pictures() -> None:
    a = picture(1)
    assert psnr(a, a) == 100
    assert ssim(a, a) == pytest.approx(1, abs=1e-6)
    assert psnr(np.zeros_like(a), np.full_like(a, 255)) == 0
    assert ssim(np.zeros_like(a), np.full_like(a, 255)) == pytest.approx(1e-4, abs=1e-5)  # C1 / (1 + C1)
    assert ssim(a, 255 - a) < 0


def test_both_fall_with_noise() -> None:
    a = picture(2)
    for measure in (psnr, ssim):
        values = [measure(a, noisy(a, sigma)) for sigma in (2, 8, 20, 60)]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2), (3, 10), (10, 10)])
def test_pictures_smaller_than_the_window(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, *size, 3), np.uint8)
    assert ssim(a, a) == pytest.approx(1, abs=1e-6)
    assert -1 <= ssim(a, b) < 0.999
    assert math.isfinite(psnr(a, b))


def test_columns_with_and_without_target() -> None:
    a, b, c = picture(4), noisy(picture(4), 9), noisy(picture(4), 25)
    pictures = Pictures(source=[a, a], output=[b, b], target=[None, c])
    for metric in build(["psnr", "ssim"]):
        measured = metric.measure(pictures)
        assert tuple(measured.values) == metric.columns
        to_source, to_target = measured.values.values()
        assert to_source[0] == to_source[1]
        assert math.isnan(to_target[0])
        assert to_target[1] < to_source[1]
        assert metric.combine({}) == {}
