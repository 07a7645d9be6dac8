"""EfficientNet-Lite0 features of pictures, shared by the metrics that use them.

They are real ImageNet features without a hub, but not Inception's, AlexNet's or DINO's: the metrics on them carry the
network's name, and their values compare with each other only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from methods.nn.efflite0 import load_efflite0
from methods.nn.resample import resample
from pipeline.metrics.encoded import EncodedPictures

_SIDE = 224
_CUDA_BATCH = 32


@dataclass(frozen=True)
class Features:
    """Of one picture.

    Attributes:
        stages: five maps (C, H, W), 16, 24, 40, 112 and 320 channels on 112, 56, 28, 14 and 7 pixels.
        pooled: (1280,), before the classifier.
    """

    stages: list[torch.Tensor]
    pooled: torch.Tensor


class SharedEffLite0:
    """The network on one device.

    Every picture is brought to 224 x 224 by one antialiased filter (Pillow's bicubic), as such features feel the filter
    itself. On the CPU pictures go one by one, so that a value does not depend on the batch.

    Attributes:
        maps: of each picture, what distances between two pictures are taken in.
        vectors: (1280,) float16 of each, before the classifier, for metrics of sets.
    """

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._network = load_efflite0(self._device)
        self.maps: EncodedPictures[Features] = EncodedPictures(self._encode)
        self.vectors: EncodedPictures[np.ndarray] = self.maps.reading(lambda each: each.pooled.half().cpu().numpy())

    @torch.inference_mode()
    def _encode(self, pictures: Sequence[np.ndarray]) -> list[Features]:
        found: list[Features] = []
        step = 1 if self._device.type == "cpu" else _CUDA_BATCH
        for start in range(0, len(pictures), step):
            small = [resample(picture, (_SIDE, _SIDE), "bicubic") for picture in pictures[start : start + step]]
            batch = torch.from_numpy(np.stack(small)).to(self._device).permute(0, 3, 1, 2).float() / 255
            stages = self._network.stages(batch)
            pooled = F.relu6(self._network.head(stages[-1])).mean((2, 3))
            found += [Features([stage[at] for stage in stages], pooled[at]) for at in range(len(small))]
        return found


@cache
def shared(device: str) -> SharedEffLite0:
    """The one network of this process on a device: metrics that ask for the same pictures share the work.

    Raises:
        InputError: the package with the weights is not installed.
    """
    return SharedEffLite0(device)
