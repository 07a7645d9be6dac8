"""Finding and building metrics by name; third parties add theirs through the entry-point group."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from methods.errors import InputError
from methods.plugins import Registry, checked, implementation
from methods.sharing import loaded_once
from methods.uris import resolved
from pipeline.metrics.base import Metric
from pipeline.metrics.catalogue import BUILT_IN
from pipeline.metrics.info import MetricInfo
from pipeline.metrics.params import MetricParams

if TYPE_CHECKING:
    import torch

Entry = str | Mapping[str, Mapping[str, Any] | None]
"""A metric as a job names it: ``psnr``, or ``{lpips: {network: vgg}}``."""


METRICS: Registry[MetricInfo] = Registry("metric", "sceneshift.metrics", {info.name: info for info in BUILT_IN})


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


def resolve(entry: Entry) -> tuple[MetricInfo, MetricParams | None]:
    """The metric that a job names, and its parameters with their URIs ready for any machine; imports no torch.

    Raises:
        InputError: an unknown metric or parameter (the nearest is named), a value that does not fit, or the package
            that the metric needs is not installed.
    """
    name, given = (entry, None) if isinstance(entry, str) else _named(entry)
    found = info(name)
    if found.requires is not None and importlib.util.find_spec(found.requires[0]) is None:
        raise InputError(f"metric '{name}' needs a package that is not installed: pip install '{found.requires[1]}'")
    if found.params is None:
        if given:
            raise InputError(f"metrics: '{name}' has no parameters: write just its name")
        return found, None
    return found, resolved(checked(found.params, given or {}, f"metric '{name}'", f"metrics.{name}"))


def columns(entry: Entry) -> tuple[str, ...]:
    """The per-sample columns of one metric that can be built here; imports nothing.

    Raises:
        InputError: as :func:`resolve`.
    """
    found, params = resolve(entry)
    own = None if params is None else params.columns()
    return found.columns if own is None else own


def weight_uris(entry: Entry) -> tuple[str, ...]:
    """Where the weights come from that a metric loads. Raises InputError as :func:`resolve`."""
    _, params = resolve(entry)
    return () if params is None else params.weight_uris()


def ready(entry: Entry) -> Entry:
    """The entry with all its parameters, their URIs ready for any machine. Raises InputError as :func:`resolve`."""
    found, params = resolve(entry)
    return found.name if params is None else {found.name: params.model_dump(mode="json")}


def build(entries: Sequence[Entry], *, device: str | torch.device = "cpu") -> list[Metric]:
    """Build metrics in the given order, each once; those with a network put it on ``device``.

    Jobs that are built beside each other (:func:`methods.sharing.sharing`) share those that they have in common.

    Raises:
        InputError: as :func:`resolve`.
    """
    built: list[Metric] = []
    seen: list[Entry] = []
    for entry in entries:
        if entry in seen:
            continue
        seen.append(entry)
        found, params = resolve(entry)
        make = implementation(found.implementation)
        args = (device,) if params is None else (device, params)
        built.append(loaded_once(("metric", repr(entry), str(device)), partial(make, *args)))
    return built


def _named(entry: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    if len(entry) != 1:
        raise InputError(f"metrics: one entry names {', '.join(entry) or 'nothing'}: write each metric as an entry")
    ((name, given),) = entry.items()
    return name, given
