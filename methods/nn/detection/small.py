"""A detector of a few hundred thousand parameters, trained by ``sceneshift train`` (objective ``detector``).

FCOS (Tian et al. 2019), as torchvision builds it, over a small network of depthwise convolutions with a feature
pyramid of two levels, 8 and 16 pixels apart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import FeaturePyramidNetwork

from methods.nn.described import read_described, write_described
from methods.nn.detection.base import Detections

FORMAT = "sceneshift-detector-1"
_PYRAMID = 64
_LEAST = 0.02


class _Separable(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.GroupNorm(8, inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.ReLU(),
        )


class _Backbone(nn.Module):
    """(B, 3, H, W) -> two maps of 64 channels, 8 and 16 pixels apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = _PYRAMID
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.GroupNorm(8, width), nn.ReLU())
        self.to4 = nn.Sequential(_Separable(width, 2 * width, 2), _Separable(2 * width, 2 * width, 1))
        self.to8 = nn.Sequential(_Separable(2 * width, 4 * width, 2), _Separable(4 * width, 4 * width, 1))
        self.more8 = nn.Sequential(_Separable(4 * width, 4 * width, 1), _Separable(4 * width, 4 * width, 1))
        self.to16 = nn.Sequential(_Separable(4 * width, 8 * width, 2), _Separable(8 * width, 8 * width, 1))
        self.pyramid = FeaturePyramidNetwork([4 * width, 8 * width], _PYRAMID)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        eight = self.more8(self.to8(self.to4(self.stem(images))))
        return self.pyramid(OrderedDict([("8", eight), ("16", self.to16(eight))]))


class SmallDetector(nn.Module):
    """A network with the names of its classes.

    Args:
        classes: what it knows.
        aliases: classes of labels that it knows under another name, such as ``{"truck": "vehicle"}``.
        width: channels of its first level, a multiple of 8; parameters grow with the square.
        side: to what the short side of pictures is resized.
    """

    def __init__(self, classes: Sequence[str], aliases: Mapping[str, str], width: int = 16, side: int = 160) -> None:
        super().__init__()
        self.classes, self.aliases, self.width, self.side = tuple(classes), dict(aliases), width, side
        head = FCOSHead(_PYRAMID, 1, len(self.classes), num_convs=2)
        self.fcos = FCOS(
            _Backbone(width),
            len(self.classes),
            head=head,
            # pictures come with this short side already: torchvision has no switch for that outside training
            min_size=side,
            max_size=64 * side,
            # FCOS takes objects of up to 8 times an anchor for the first level, and all larger ones for the second
            anchor_generator=AnchorGenerator(((6,), (12,)), ((1.0,),) * 2),
            score_thresh=_LEAST,
            nms_thresh=0.5,
            detections_per_img=100,
            topk_candidates=300,
            _skip_resize=True,
        )

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        """As :class:`methods.nn.detection.base.Detector`; pictures go through one by one."""
        device = next(self.parameters()).device
        found = []
        for picture in pictures:
            resized, scale = self.resized(picture)
            tensor = torch.from_numpy(resized).to(device).permute(2, 0, 1).float() / 255
            (said,) = self.fcos([tensor])
            scores = said["scores"].double().cpu().numpy()
            boxes = said["boxes"].double().cpu().numpy() / scale
            names = [self.classes[int(label)] for label in said["labels"]]
            found.append(Detections(boxes, scores, tuple(names)).above(score))
        return found

    def resized(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """The picture with its short side at ``side``, and by how much it grew."""
        height, width = picture.shape[:2]
        scale = self.side / min(height, width)
        if scale == 1:
            return np.array(picture), 1.0
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        filter = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(picture, size, interpolation=filter), scale

    def save(self, path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> Path:
        """Write ``tensors`` (its own or averaged ones) with what the network is built from."""
        config = {"classes": self.classes, "aliases": self.aliases, "width": self.width, "side": self.side}
        return write_described(path, FORMAT, config, tensors, about)


def load_small(path: Path) -> SmallDetector:
    """A frozen detector in float32 on the CPU, from a file of :meth:`SmallDetector.save`.

    Raises:
        InputError: not such a file, or tensors that do not fit the network it describes.
    """

    def build(config: Mapping[str, Any]) -> SmallDetector:
        return SmallDetector(config["classes"], config["aliases"], int(config["width"]), int(config["side"]))

    return read_described(path, FORMAT, "detector", build).eval().requires_grad_(False)
