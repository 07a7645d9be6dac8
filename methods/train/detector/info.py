"""The light description of the detector's training; imports no torch."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from methods.train.objective import ObjectiveInfo, ObjectiveParams


class DetectorTrainParams(ObjectiveParams):
    """Parameters of the detector's training."""

    classes: tuple[str, ...] = ("vehicle", "person")
    """Names of the classes it learns; boxes of others are background."""
    merge: dict[str, str] = Field(default={})
    """Classes of the labels that are learnt under another name, such as ``{truck: vehicle}``."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 16
    """Channels of the network's first level."""
    side: Annotated[int, Field(ge=64, multiple_of=16)] = 160
    """To what the short side of pictures is resized, in training and afterwards."""
    smallest: Annotated[float, Field(ge=0)] = 6.0
    """Boxes with a side below this, in pixels of the resized picture, are background."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of AdamW; it rises over the first 5 % of the steps and falls as a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay of AdamW."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.3
    """How far brightness and contrast of a training picture are changed at most, as a share."""
    erase: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance of each labelled box to be painted over with one colour, black half of the time; what was in it is
    background then. Without, a small detector learns from the road around a dark area that it is a vehicle."""


def _schedule(params: DetectorTrainParams, step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))


INFO = ObjectiveInfo(
    name="detector",
    summary="A small FCOS learns the boxes of labelled pictures; it checks labels (labels.check).",
    paper="https://arxiv.org/abs/1904.01355",
    implementation="methods.train.detector.objective:DetectorTraining",
    params=DetectorTrainParams,
    streams={"labelled": "pictures of one size with boxes in their own label record (BDD100K, COCO, ...)"},
    refuses={
        "precision": "the detector and its losses are one network of torchvision, which trains in float32",
        "compile": "the detector's own code between its few layers would run as before",
        "checkpointing": "the detector's activations are small beside its pictures",
    },
    steps=3000,
    batch_size=16,
    schedule=_schedule,
)
