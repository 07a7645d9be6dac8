"""Metrics: one file each, registered by name; importing this imports neither torch nor weights."""

from pipeline.metrics.base import Measured, Metric, Pictures
from pipeline.metrics.info import MetricInfo
from pipeline.metrics.params import MetricParams
from pipeline.metrics.registry import Entry, build, columns, info, names, ready, registered, resolve, weight_uris

__all__ = [
    "Entry",
    "Measured",
    "Metric",
    "MetricInfo",
    "MetricParams",
    "Pictures",
    "build",
    "columns",
    "info",
    "names",
    "ready",
    "registered",
    "resolve",
    "weight_uris",
]
