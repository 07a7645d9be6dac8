"""Which values a metric can have at all: its interval says nothing of others."""

from __future__ import annotations

from math import inf

_BOUNDS: dict[str, tuple[float, float]] = {
    "brightness_ratio": (0, inf),
    "clip_direction": (-1, 1),
    "clip_score": (-100, 100),
    "colour_l": (0, 100),
    "colour_shift": (0, inf),
    "dino_distance": (0, inf),
    "dino_structure": (0, inf),
    "featdist_efflite0": (0, inf),
    "fid": (0, inf),
    "frechet": (0, inf),
    "label_colour": (0, inf),
    "label_structure": (0, inf),
    "labels.checked": (0, inf),
    "labels.found_before": (0, inf),
    "labels.held": (0, inf),
    "labels.invented": (0, inf),
    "labels.survival": (0, 1),
    "lpips": (0, inf),
    "ms_ssim": (-1, 1),
    "sharpness": (0, inf),
    "ssim": (-1, 1),
    "structure": (0, inf),
}


def bounds(name: str) -> tuple[float, float]:
    """The least and the largest value of a metric column or of a metric of sets; infinite where nothing is known.

    A variant of a metric in its name (``lpips_vgg``, ``fid_clean``) is as the metric.
    """
    fitting = [each for each in _BOUNDS if name == each or name.startswith(f"{each}_")]
    return _BOUNDS[max(fitting, key=len)] if fitting else (-inf, inf)


def within(
    interval: tuple[float, float], value: float, least: float = -inf, largest: float = inf
) -> tuple[float, float]:
    """An interval around a value, cut where the value cannot go; it holds the value itself in any case."""
    low, high = interval
    return min(max(low, least), value), max(min(high, largest), value)
