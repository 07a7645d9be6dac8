"""The face recogniser IR-SE50 of InsightFace_Pytorch (``model_ir_se50.pth``): features that say who it is."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.nn.tensor_file import fill, read_tensors

_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
_INPUT = 112
_ALIGNED = 256


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        weight = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(features, 1))))
        return features * torch.sigmoid(weight)


class _Unit(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer = (
            None
            if in_channels == channels
            else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            _SqueezeExcite(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        if self.shortcut_layer is None:
            return self.res_layer(features) + features[..., :: self.stride, :: self.stride]
        return self.res_layer(features) + self.shortcut_layer(features)


class ArcFace(nn.Module):
    """(B, 3, 112, 112) faces in [-1, 1] -> (B, 512) unit vectors. ``state_dict`` has the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        units, into = [], 64
        for channels, count in _STAGES:
            for number in range(count):
                units.append(_Unit(into, channels, 2 if number == 0 else 1))
                into = channels
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)
        )

    def forward(self, faces: Tensor) -> Tensor:
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=-1)

    def of_aligned(self, images: Tensor) -> Tensor:
        """(B, 512) of (B, 3, H, W) pictures aligned as FFHQ: the middle of the face, pooled to 112 x 112.

        The middle is measured at 256 x 256; pictures of other sizes are pooled to that first.
        """
        if images.shape[-2:] != (_ALIGNED, _ALIGNED):
            images = F.adaptive_avg_pool2d(images, _ALIGNED)
        return self(F.adaptive_avg_pool2d(images[..., 35:223, 32:220], _INPUT))


def load_arcface(path: Path) -> ArcFace:
    """The frozen network in float32 on the CPU. Raises InputError for another kind of file."""
    network = ArcFace()
    fill(network, read_tensors(path), str(path))
    return network.eval().requires_grad_(False)
