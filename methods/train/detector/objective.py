"""Training of the small detector: FCOS' losses (Tian et al. 2019, arXiv 1904.01355) as torchvision has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Inputs
from methods.counting import counted
from methods.errors import BadSample, InputError
from methods.nn.detection.small import SmallDetector
from methods.train.detector.erase import erase
from methods.train.detector.info import INFO, DetectorTrainParams
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.updates import Updates

_MOST = 64


class DetectorTraining:
    """The network with its optimizer."""

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: DetectorTrainParams, device: torch.device) -> None:
        self.params, self.device = params, device
        self.network = SmallDetector(params.classes, params.merge, params.width, params.side).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), params.lr, weight_decay=params.weight_decay)

    @classmethod
    def build(
        cls, params: DetectorTrainParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> DetectorTraining:
        """A fresh network, initialised from torch's global generator. It trains in float32 whatever the precision."""
        return cls(params, device)

    def networks(self) -> Mapping[str, nn.Module]:
        """The detector."""
        return {"detector": self.network}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """One optimizer."""
        return {"detector": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, H, W) in [0, 1], mirrored half of the time, and ``boxes`` (64, 5): corners and class, or -1.

        Raises:
            BadSample: no picture, no labels, or more than 64 boxes of the classes.
        """
        found = inputs.columns.get("boxes")
        if inputs.image is None or not isinstance(found, list):
            raise BadSample("no_labels", "the sample has no label record with boxes")
        corners = np.array([(x, y, x + w, y + h) for _, (x, y, w, h) in found]).reshape(-1, 4)
        picture, gone = inputs.image, np.zeros(len(corners), bool)
        if self.params.erase:
            # before it is resized, as a picture comes to the detector later
            picture = picture.copy()
            gone = erase(picture, corners, self.params.erase, rng)
        pixels, scale = self.network.resized(picture)
        width = pixels.shape[1]
        mirrored = rng.random() < 0.5
        change = 1 + self.params.jitter * (2 * rng.random(2) - 1)
        image = pixels.astype(np.float32) / 255
        mean = image.mean()
        image = np.clip(((image - mean) * change[0] + mean) * change[1], 0, 1)
        rows = []
        for (category, _), (left, top, right, bottom), away in zip(found, corners * scale, gone, strict=True):
            name = self.params.merge.get(category, category)
            small = min(right - left, bottom - top) < self.params.smallest
            if away or small or name not in self.params.classes:
                continue
            if mirrored:
                left, right = width - right, width - left
            rows.append([left, top, right, bottom, float(self.params.classes.index(name))])
        if len(rows) > _MOST:
            raise BadSample(
                "many_labels", f"{counted(len(rows), 'box')} in one picture; the detector learns up to {_MOST}"
            )
        boxes = np.full((_MOST, 5), -1, np.float32)
        if rows:
            boxes[: len(rows)] = rows
        image = image[:, ::-1] if mirrored else image
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.astype(np.float32))).permute(2, 0, 1),
            "boxes": torch.from_numpy(boxes),
        }

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One step on all three losses."""
        images, boxes = batch["labelled"]["image"], batch["labelled"]["boxes"]
        assert isinstance(images, Tensor)
        assert isinstance(boxes, Tensor)
        self.network.train()
        losses = self.network.fcos(list(images), [_target(each) for each in boxes])
        total = sum(losses.values(), images.new_zeros(()))
        updates.step("detector", self.optimizer, loss=total, clip=5.0)
        return {name: float(value.detach()) for name, value in losses.items()}

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """``recall`` and ``precision`` at score 0.3 and an overlap of half, over all boxes."""
        self.network.eval()
        hit = wanted = said = 0
        for sample in samples["labelled"]:
            image, boxes = sample["image"], sample["boxes"]
            assert isinstance(image, Tensor)
            assert isinstance(boxes, Tensor)
            target = _target(boxes.to(self.device))
            (found,) = self.network.fcos([image.to(self.device)])
            kept = found["scores"] >= 0.3
            hit += _matches(found["boxes"][kept], found["labels"][kept], target["boxes"], target["labels"])
            wanted += len(target["labels"])
            said += int(kept.sum())
        return Validation({"recall": hit / max(wanted, 1), "precision": hit / max(said, 1)})

    def state_dict(self) -> dict[str, Any]:
        """Network and optimizer."""
        return {"detector": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.network.load_state_dict(state["detector"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """The detector as ``labels.check`` loads it. Raises InputError for another ending."""
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: detector weights are written as .safetensors")
        tensors = dict(self.network.state_dict())
        if averaged is not None:
            tensors.update(averaged["detector"])
        return self.network.save(path, tensors, metadata)


def _target(boxes: Tensor) -> dict[str, Tensor]:
    real = boxes[boxes[:, 4] >= 0]
    return {"boxes": real[:, :4], "labels": real[:, 4].long()}


def _matches(boxes: Tensor, labels: Tensor, wanted: Tensor, classes: Tensor) -> int:
    """How many of the wanted boxes have a found one of their class, each found one used once, best first."""
    from torchvision.ops import box_iou

    overlaps = box_iou(boxes, wanted) * (labels[:, None] == classes[None, :])
    taken: set[int] = set()
    for row in overlaps:
        order = [int(at) for at in row.argsort(descending=True) if int(at) not in taken and row[at] >= 0.5]
        taken.update(order[:1])
    return len(taken)
