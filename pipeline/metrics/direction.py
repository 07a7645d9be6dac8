"""Which way a metric is better, where that can be said of it."""

from __future__ import annotations

from typing import Literal

Better = Literal["higher", "lower"]

_BETTER: dict[str, Better] = {
    "psnr": "higher",
    "ssim": "higher",
    "ms_ssim": "higher",
    "structure": "lower",
    "dino_structure": "lower",
    "lpips": "lower",
    "clip_score": "higher",
    "clip_direction": "higher",
    "featdist_efflite0": "lower",
    "label_structure": "lower",
    "labels.survival": "higher",
    "labels.invented": "lower",
}


def better(column: str) -> Better | None:
    """Whether more or less of a metric column is better; ``None`` for one that only describes, such as a brightness.

    A variant of a metric in its name (``lpips_vgg``, ``psnr_target``) is as the metric.
    """
    fitting = [name for name in _BETTER if column == name or column.startswith(f"{name}_")]
    return _BETTER[max(fitting, key=len)] if fitting else None
