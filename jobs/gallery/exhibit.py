"""What the gallery shows, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.gallery.shown import ShownSample


@dataclass(frozen=True)
class Exhibit:
    """One job of the gallery, done.

    Attributes:
        name, method, text: of the job, of its method, and its file as it is.
        samples: what it made.
        summary: content of ``metrics.json``.
        seconds: from the start to the end of the job; 0 when there was nothing left to do.
    """

    name: str
    method: str
    text: str
    samples: Sequence[ShownSample]
    summary: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Absent:
    """A method that is not shown, and why."""

    method: str
    reason: str
