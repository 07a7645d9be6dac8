"""The light description of a metric."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.metrics.params import MetricParams


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric without building it; entry points of ``sceneshift.metrics`` name one.

    Attributes:
        name: as used in specs.
        columns: the per-sample columns it gives, which ``keep:`` may use.
        summary: one line for people.
        implementation: ``module:Class`` of a :class:`pipeline.metrics.base.Metric` that is built with the device as
            its only argument, and with its parameters as the second if it has ``params``; imported when it is built.
        requires: a module that must be installed for it, and what to say to pip: ``(module, requirement)``.
        params: the model of its parameters, for a metric that has some.
        of_set: whether it compares whole sets of pictures, and so may have a reference.
    """

    name: str
    columns: tuple[str, ...]
    summary: str
    implementation: str
    requires: tuple[str, str] | None = None
    params: type[MetricParams] | None = None
    of_set: bool = False
