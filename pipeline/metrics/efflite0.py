"""EfficientNet-Lite0 features of pictures, shared by the metrics that use them.

They are real ImageNet features without a hub, but not Inception's, AlexNet's or DINO's: the metrics on them carry the
network's name, and their values compare with each other only.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from methods.nn.efflite0 import load_efflite0
from pipeline.metrics.base import Pictures
from pipeline.resample import resample

Role = Literal["source", "output", "target"]
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


class EffLite0Features:
    """The network on one device, with the features of the pictures it saw last.

    Every picture is brought to 224 x 224 by one antialiased filter (Pillow's bicubic), as such features feel the filter
    itself. On the CPU pictures go one by one, so that a value does not depend on the batch.
    """

    def __init__(self, device: str | torch.device) -> None:
        self._device = torch.device(device)
        self._network = load_efflite0(self._device)
        self._last: tuple[weakref.ref[Pictures], dict[Role, list[Features | None]]] | None = None

    def of(self, pictures: Pictures, role: Role) -> list[Features | None]:
        """Features of the source, output or target of each sample; ``None`` where there is no such picture."""
        last = self._last
        if last is None or last[0]() is not pictures:
            last = self._last = (weakref.ref(pictures), {})
        known = last[1]
        if role not in known:
            found: dict[Role, Sequence[np.ndarray | None]] = {
                "source": pictures.source,
                "output": pictures.output,
                "target": pictures.target,
            }
            known[role] = self._encode(found[role])
        return known[role]

    @torch.inference_mode()
    def _encode(self, images: Sequence[np.ndarray | None]) -> list[Features | None]:
        out: list[Features | None] = [None] * len(images)
        present = [at for at, image in enumerate(images) if image is not None]
        step = 1 if self._device.type == "cpu" else _CUDA_BATCH
        for start in range(0, len(present), step):
            group = present[start : start + step]
            small = [resample(image, (_SIDE, _SIDE), "bicubic") for at in group if (image := images[at]) is not None]
            batch = torch.from_numpy(np.stack(small)).to(self._device).permute(0, 3, 1, 2).float() / 255
            stages = self._network.stages(batch)
            pooled = F.relu6(self._network.head(stages[-1])).mean((2, 3))
            for number, at in enumerate(group):
                out[at] = Features([stage[number] for stage in stages], pooled[number])
        return out


@cache
def shared(device: str) -> EffLite0Features:
    """The one extractor of this process on a device: metrics that ask for the same pictures share the work.

    Raises:
        InputError: the package with the weights is not installed.
    """
    return EffLite0Features(device)
