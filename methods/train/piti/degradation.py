"""Degraded small pictures to train an upsampler on: the light variant of BSRGAN (arXiv 2103.14006) as PITI uses it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from scipy import ndimage

_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


def degrade(picture: np.ndarray, factor: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> (H / factor, W / factor, 3) uint8, with blur, noise and compression in random order.

    The release's smoothing by L0 gradients rounds every picture it touches to black; here it does what it is meant to.

    Args:
        picture: sides are multiples of ``factor``.
        factor: 1, 2 or 4.
        rng: every random number comes from it.
    """
    height, width = picture.shape[:2]
    small = (width // factor, height // factor)
    image = picture.astype(np.float32) / 255
    if factor == 4 and rng.random() < 0.25:
        image = _resized(image, (width // 2, height // 2), rng)
        factor = 2
    whole = image.shape[:2]
    steps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "blur": lambda image: _blurred(image, factor, rng) if rng.random() < 0.8 else image,
        "shrink": lambda image: _shrunk(image, factor, rng),
        "finish": lambda image: _resized(image, (whole[1] // factor, whole[0] // factor), rng),
        "noise": lambda image: image + _noise(image.shape, rng),
        "compress": lambda image: _compressed(image, rng) if rng.random() < 0.5 else image,
        "smooth": lambda image: smooth_l0(image, rng.uniform(1.2e-3, 4e-3)) if rng.random() < 0.2 else image,
    }
    order = list(rng.permutation(list(steps)))
    # the exact size is reached after the random one
    shrink, finish = order.index("shrink"), order.index("finish")
    if shrink > finish:
        order[shrink], order[finish] = order[finish], order[shrink]
    for name in order:
        image = np.clip(steps[name](image), 0, 1).astype(np.float32)
    if image.shape[:2] != (small[1], small[0]):
        image = np.clip(cv2.resize(image, small, interpolation=cv2.INTER_AREA), 0, 1)
    return np.round(image * 255).astype(np.uint8)


def smooth_l0(image: np.ndarray, strength: float, growth: float = 2.0, limit: float = 1e5) -> np.ndarray:
    """Few gradients, close to the picture: L0 smoothing (Xu et al., SIGGRAPH Asia 2011) of (H, W, 3) in [0, 1]."""
    height, width = image.shape[:2]
    across, down = np.zeros((height, width)), np.zeros((height, width))
    across[0, 0], across[0, -1], down[0, 0], down[-1, 0] = -1, 1, -1, 1
    energy = np.abs(np.fft.fft2(across)) ** 2 + np.abs(np.fft.fft2(down)) ** 2
    found, spectrum = image.astype(np.float64), np.fft.fft2(image, axes=(0, 1))
    weight = 2 * strength
    while weight < limit:
        right = np.roll(found, -1, axis=1) - found
        below = np.roll(found, -1, axis=0) - found
        flat = (right**2 + below**2).sum(axis=2) < strength / weight
        right[flat], below[flat] = 0, 0
        divergence = np.roll(right, 1, axis=1) - right + np.roll(below, 1, axis=0) - below
        target = spectrum + weight * np.fft.fft2(divergence, axes=(0, 1))
        found = np.fft.ifft2(target / (1 + weight * energy)[..., None], axes=(0, 1)).real
        weight *= growth
    return np.clip(found, 0, 1)


def _resized(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return cv2.resize(image, size, interpolation=int(rng.choice(_INTERPOLATIONS)))


def _blurred(image: np.ndarray, factor: int, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        side, angle = int(rng.integers(5, 15)), rng.uniform(0, np.pi)
        widths = (4 + factor) / 4 * rng.random(2)
    else:
        side, angle = int(rng.integers(5, 8)), 0.0
        widths = np.full(2, ((2 + 0.2 * factor) / 4 * rng.random()) ** 2)
    return _convolved(image, _gaussian(side, widths, angle))


def _gaussian(side: int, variances: np.ndarray, angle: float) -> np.ndarray:
    """(side, side) kernel of a Gaussian with these variances along axes turned by ``angle``."""
    at = np.arange(side) - (side - 1) / 2
    x, y = np.meshgrid(at, at)
    along, beside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    # narrower than this a kernel is a single pixel anyway
    first, second = np.maximum(variances, 1e-2)
    exponent = -0.5 * (along**2 / first + beside**2 / second)
    kernel = np.exp(exponent - exponent.max())
    return kernel / kernel.sum()


def _shrunk(image: np.ndarray, factor: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    if rng.random() < 0.8:
        by = rng.uniform(1, 2 * factor)
        return _resized(image, (max(1, int(width / by)), max(1, int(height / by))), rng)
    kernel = _gaussian(25, np.full(2, rng.uniform(0.1, 0.6 * factor) ** 2), 0.0)
    # pixels are picked at the corners of the cells: the kernel is moved to their middles
    shifted = ndimage.shift(kernel, -(factor - 1) / 2, order=1, mode="nearest")
    return _convolved(image, shifted / shifted.sum())[::factor, ::factor]


def _convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return ndimage.convolve(image, kernel[..., None].astype(np.float32), mode="mirror")


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Of one or two 8-bit levels: independent in colour, grey, or correlated between the channels."""
    level, kind = rng.integers(1, 3) / 255, rng.random()
    if kind > 0.6:
        return rng.normal(0, level, shape)
    if kind < 0.4:
        return rng.normal(0, level, (*shape[:2], 1))
    turned, _ = np.linalg.qr(rng.random((3, 3)))
    covariance = (2 / 255) ** 2 * np.abs(turned.T @ np.diag(rng.random(3)) @ turned)
    return rng.multivariate_normal(np.zeros(3), covariance, shape[:2], check_valid="ignore")


def _compressed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    levels = np.ascontiguousarray(np.round(image[:, :, ::-1] * 255).astype(np.uint8))
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[:, :, ::-1].astype(np.float32) / 255
