"""What each of several targets of a job has of its own."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from methods.uris import WeightsUri
from pipeline.storage import StorageOptions


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _known_places(change: str | dict[str, str]) -> str | dict[str, str]:
    if isinstance(change, dict):
        if not change or not all(words.strip() for words in change):
            raise ValueError("name the words to be replaced and what they become, such as {in the day: at night}")
        return change
    unknown = [place for place in re.findall(r"\{(.*?)\}", change) if place != "caption"]
    if unknown:
        raise ValueError(f"{{{unknown[0]}}} is not known here; the one place to fill in is {{caption}}")
    return change


CaptionChange = Annotated[str | dict[str, str], AfterValidator(_known_places)]
"""A template whose one place is ``{caption}``, or words and what they become."""


class ReferenceSpec(_Block):
    """A set of pictures to compare all outputs with, for ``fid`` and other metrics of sets."""

    uri: str
    """A dataset as ``source.uri`` names one, or a file ``NAME.npz`` that ``sceneshift stats`` wrote of one."""
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds it."""


class TargetMethodSpec(_Block):
    """What differs of the method."""

    name: str | None = None
    """Another method; nothing of the job's ``method`` holds for the target then."""
    preset: str | None = None
    """Another preset, in place of the job's preset and weights."""
    weights: WeightsUri | None = None
    """Other weights."""
    params: dict[str, Any] = {}
    """Parameters that are set beside the job's, or in place of the same ones."""


class TargetLabelsSpec(_Block):
    """What differs of the labels."""

    set: dict[str, str | bool | int | float] = {}
    """What is true of every picture of it, beside the job's ``source.labels.set`` or in place of the same keys."""
    caption: CaptionChange | None = None
    """What becomes of the caption, in place of the job's: a template, or words and what they become."""


class TargetSpec(_Block):
    """One of several targets: what it has of its own; all else is the job's."""

    method: TargetMethodSpec = TargetMethodSpec()
    """What differs of the method."""
    labels: TargetLabelsSpec = TargetLabelsSpec()
    """What differs of the labels."""
    metrics: list[str | dict[str, dict[str, Any] | None]] | None = None
    """Metrics, in place of the job's."""
    metrics_reference: ReferenceSpec | None = None
    """What its metrics of sets compare with, in place of the job's."""
    keep: str | None = None
    """Condition on the metrics, in place of the job's."""
