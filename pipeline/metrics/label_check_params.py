"""Parameters of the check of labels; imports neither torch nor numpy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from methods.nn.detection.names import TORCHVISION, DetectorUri, released_uri
from pipeline.metrics.params import MetricParams


class LabelCheckParams(MetricParams):
    """With which detector labels are checked, and what counts as found."""

    detector: DetectorUri
    """One of torchvision's detectors or segmenters by name (``fasterrcnn_resnet50_fpn_v2``), or a URI: a folder or hub
    id of a transformers detector or segmenter, a file of objective ``detector``, ``bundled://street-detector``,
    torchvision's weights, or the ``.json`` of a CenterNet for COCO as a graph model of TensorFlow.js, its binary files
    beside it. An instance segmenter gives the boxes of its instances; a semantic one those of connected
    components, so that objects which touch are one. Road, sky and the like are no objects.
    """
    network: str | None = None
    """torchvision's name of the network, where ``detector`` is the URI of its weights."""
    map: dict[str, str] = Field(default={})
    """Classes of the labels that the detector knows under another name, such as ``{rider: person}``; adds to those that
    are known."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """The only classes of the labels that are checked; the detector must know each. Without this list all are that the
    label files name. Objects of other classes are neither lost nor invented: no label says whether they were there.
    """
    iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Least overlap of a labelled box and a detection, as intersection over union."""
    score: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Least score of a detection."""
    smallest: Annotated[float, Field(ge=0)] = 8.0
    """Side in pixels below which a labelled box is not checked."""

    def weight_uris(self) -> tuple[str, ...]:
        return (released_uri(self.detector),)

    def torchvision_network(self) -> str | None:
        """torchvision's name of the network, if it is one of its."""
        return self.detector if self.detector in TORCHVISION else self.network


class ReadyLabelCheckParams(LabelCheckParams):
    """The same as a worker gets them."""

    named: list[str] | None = None
    """The classes that the label files name; the job fills it in from ``source.labels.uri``."""
