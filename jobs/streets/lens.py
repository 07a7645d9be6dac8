"""From linear light to an 8-bit picture: halos, exposure, rain and snow in the air, vignette, grain."""

import numpy as np
from PIL import Image, ImageDraw

from jobs.streets.conditions import Condition
from jobs.streets.scene import CameraView
from jobs.streets.texture import Array, rgb

NIGHT_GRAIN, DAY_GRAIN = 0.014, 0.008


def average(image: Array, factor: int) -> Array:
    """Mean of ``factor`` x ``factor`` blocks of (height, width, channels)."""
    height, width, channels = image.shape
    return image.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


def develop(linear: Array, factor: int, condition: Condition, view: CameraView, rng: np.random.Generator) -> Array:
    """The photograph, uint8 (height, width, 3), from supersampled linear light (height * factor, width * factor, 3)."""
    gain = np.float32(view.exposure) * view.white_balance
    if condition.time == "night":
        image = average(np.minimum(linear, 4), factor)
        image = image + _halo(linear, factor, condition.weather.halo_gain)
        image = 1 - np.exp(-image * gain * np.float32(2.0))
    else:
        image = average(np.minimum(linear, 3), factor) * gain * np.float32(condition.weather.exposure)
        image = image * (1 + image * 0.12) / (1 + image * 0.42)
    image = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    if condition.weather.name in ("rain", "snow"):
        image = _precipitation(image, condition, rng)
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    corner = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    image = image * (1 - 0.16 * corner)[..., None]
    grain = NIGHT_GRAIN if condition.time == "night" else DAY_GRAIN
    image = image + rng.normal(0, grain, image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blur(image: Array, sigma: float) -> Array:
    radius = max(int(sigma * 2.5), 1)
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma * sigma))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        padding = [(radius, radius) if side == axis else (0, 0) for side in range(3)]
        padded = np.pad(image, padding, mode="edge")
        image = np.zeros_like(image)
        for i, weight in enumerate(kernel):
            shifted = padded[i : i + image.shape[0]] if axis == 0 else padded[:, i : i + image.shape[1]]
            image += weight * shifted
    return image


def _halo(linear: Array, factor: int, gain: float) -> Array:
    """Light scattered around bright points, at two widths, (height, width, 3)."""
    height, width = linear.shape[0] // factor, linear.shape[1] // factor
    hot = np.clip(linear - 0.55, 0, 8).astype(np.float32)
    pad_y, pad_x = height % 2 * factor, width % 2 * factor
    small = average(np.pad(hot, ((0, pad_y), (0, pad_x), (0, 0)), mode="edge"), factor * 2)
    scale = width / 256
    halo = (_blur(small, max(3 * scale, 0.4)) * 0.5 + _blur(small, max(9 * scale, 0.8)) * 0.55) * np.float32(gain)
    size = (small.shape[1] * 2, small.shape[0] * 2)
    planes = [np.asarray(Image.fromarray(halo[..., c]).resize(size, Image.Resampling.BICUBIC)) for c in range(3)]
    return np.clip(np.stack(planes, -1)[:height, :width], 0, None)


def _precipitation(image: Array, condition: Condition, rng: np.random.Generator) -> Array:
    """Streaks or flakes, as many and as large against the picture at any size; drawn at twice the size."""
    height, width = image.shape[:2]
    rain = condition.weather.name == "rain"
    layer = Image.new("L", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(layer)
    for _ in range(int(height / width * (280 if rain else 560))):
        x, y, near = rng.random() * width * 2, rng.random() * height * 2, rng.random() ** 2
        if rain:
            length = (6 + 26 * near) * width / 256 * 2
            draw.line((x, y, x + length * 0.12, y + length), fill=int(35 + 75 * near), width=1)
        else:
            radius = (0.5 + 2.2 * near) * width / 256 * 1.2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(120 + 135 * rng.random()))
    cover = np.asarray(layer.resize((width, height), Image.Resampling.BOX), np.float32)[..., None] / 255
    cover = cover * (0.55 if condition.time == "night" else 1.0) * (0.55 if rain else 0.9)
    return image + (rgb(0.85, 0.88, 0.92) - image) * cover
