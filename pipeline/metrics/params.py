"""Parameters of a metric: what a job file sets below the metric's name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from methods.uris import uris


class MetricParams(BaseModel):
    """Base of the parameters of one metric; a field of type ``WeightsUri`` is weights that the metric loads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def columns(self) -> tuple[str, ...] | None:
        """The per-sample columns with these parameters; ``None`` for those of the metric's description."""
        return None

    def weight_uris(self) -> tuple[str, ...]:
        """Where the weights come from that the metric loads."""
        return tuple(uris(self))
