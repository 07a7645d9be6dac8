"""Metrics: one file each, registered by name; importing this imports neither torch nor weights."""

from pipeline.metrics.base import Measured, Metric, Pictures
from pipeline.metrics.registry import MetricInfo, build, columns, info, names, registered

__all__ = ["Measured", "Metric", "MetricInfo", "Pictures", "build", "columns", "info", "names", "registered"]
