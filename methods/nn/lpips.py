"""LPIPS 0.1, the learned perceptual distance (Zhang et al., arXiv 1801.03924), on VGG-16, AlexNet or SqueezeNet."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError
from methods.nn.lpips_names import HEADS, NETWORKS
from methods.nn.tensor_file import read_tensors

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
# torchvision's vgg16().features: channels, M for max pooling; the five distances are taken before each pooling
_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)


class VGG16Features(nn.Module):
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of VGG-16; parameter names are torchvision's."""

    title = "VGG-16"
    channels = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for entry in _VGG:
            if isinstance(entry, int):
                layers += [nn.Conv2d(inputs, entry, 3, padding=1), nn.ReLU()]
                inputs = entry
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five feature maps, finest first."""
        found, h = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(h)
            h = layer(h)
        return [*found, h]


class AlexNetFeatures(nn.Module):
    """relu1 to relu5 of AlexNet; parameter names are torchvision's."""

    title = "AlexNet"
    channels = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five feature maps, finest first."""
        found, h = [], images
        for layer in self.features:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                found.append(h)
        return found


class _Fire(nn.Module):
    """SqueezeNet's block; parameter names are torchvision's."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        h = self.squeeze(h).relu()
        return torch.cat([self.expand1x1(h).relu(), self.expand3x3(h).relu()], 1)


class SqueezeNetFeatures(nn.Module):
    """The seven levels of SqueezeNet 1.1 that LPIPS compares; parameter names are torchvision's."""

    title = "SqueezeNet 1.1"
    channels = (64, 128, 256, 384, 384, 512, 512)
    _after = (1, 4, 7, 9, 10, 11, 12)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(64, 16, 64),
            _Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(128, 32, 128),
            _Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(256, 48, 192),
            _Fire(384, 48, 192),
            _Fire(384, 64, 256),
            _Fire(512, 64, 256),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> seven feature maps, finest first."""
        found, h = [], images
        for number, layer in enumerate(self.features):
            h = layer(h)
            if number in self._after:
                found.append(h)
        return found


class LPIPS(nn.Module):
    """Frozen. ``lins`` weigh the channels of each level.

    Args:
        trunk: the feature network.
        lins: one (1, C, 1, 1) non-negative weight per level.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: nn.Module, lins: list[Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        for number, weight in enumerate(lins):
            self.register_buffer(f"lin{number}", weight)
        self.levels = len(lins)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Two (B, 3, H, W) batches in [-1, 1] -> (B, 1, 1, 1). No gradient to ``target``."""
        with torch.no_grad():
            wanted = self.levels_of(target)
        return self.distance(self.levels_of(output), wanted)

    def levels_of(self, images: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) in [-1, 1] at each level, of unit length at each place."""
        levels = self.trunk((images - self.shift) / self.scale)
        return [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in levels]

    def distance(self, found: list[Tensor], wanted: list[Tensor]) -> Tensor:
        """(B, 1, 1, 1) from what :meth:`levels_of` made of two batches."""
        total = found[0].new_zeros(len(found[0]), 1, 1, 1)
        for number, (f, w) in enumerate(zip(found, wanted, strict=True)):
            distance = (f - w).square() * self.get_buffer(f"lin{number}")
            total = total + distance.sum(1, keepdim=True).mean((2, 3), keepdim=True)
        return total


_TRUNKS = {"vgg": VGG16Features, "alex": AlexNetFeatures, "squeeze": SqueezeNetFeatures}


def load_lpips(
    network: str | None = None, lins: str | None = None, kind: Literal["vgg", "alex", "squeeze"] = "vgg"
) -> LPIPS:
    """LPIPS v0.1 from torchvision's file of the network and the published linear weights.

    Args:
        network, lins: URIs of the two files; ``None`` is where they are published (:mod:`methods.nn.lpips_names`).
        kind: which network.

    Raises:
        InputError: a file that cannot be found, is refused, or does not fit.
    """
    trunk = _TRUNKS[kind]()
    path = store.fetch(network or NETWORKS[kind])
    state = read_tensors(path)
    own = trunk.state_dict()
    for name, value in own.items():
        if name not in state or state[name].shape != value.shape:
            shape = tuple(state[name].shape) if name in state else "missing"
            raise InputError(
                f"{path}: not {trunk.title} as torchvision saves it ('{name}' is {shape}, expected "
                f"{tuple(value.shape)})"
            )
    # torchvision's file goes on to a classifier
    trunk.load_state_dict({name: state[name] for name in own})
    path = store.fetch(lins or HEADS[kind])
    weights = read_tensors(path)
    found = [weights.get(f"lin{number}.model.1.weight") for number in range(len(trunk.channels))]
    for number, (weight, channels) in enumerate(zip(found, trunk.channels, strict=True)):
        if weight is None or weight.shape != (1, channels, 1, 1):
            shape = "missing" if weight is None else tuple(weight.shape)
            raise InputError(f"{path}: 'lin{number}.model.1.weight' is {shape}, expected {(1, channels, 1, 1)}")
    return LPIPS(trunk, [weight for weight in found if weight is not None])
