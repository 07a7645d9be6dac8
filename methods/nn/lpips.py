"""LPIPS, the learned perceptual distance (Zhang et al., arXiv 1801.03924), version 0.1, on VGG-16 or AlexNet."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError
from methods.nn.tensor_file import read_tensors

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
# torchvision's vgg16().features: channels, M for max pooling; the five distances are taken before each pooling
_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
_LINEAR = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
RELEASED = {
    "vgg": ("https://download.pytorch.org/models/vgg16-397923af.pth", f"{_LINEAR}/vgg.pth"),
    "alex": ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", f"{_LINEAR}/alex.pth"),
}
"""Where the files of each network are published: torchvision's ImageNet weights, and LPIPS' linear layers."""


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
            wanted = self._features(target)
        total = output.new_zeros(len(output), 1, 1, 1)
        for number, (f, w) in enumerate(zip(self._features(output), wanted, strict=True)):
            distance = (f - w).square() * self.get_buffer(f"lin{number}")
            total = total + distance.sum(1, keepdim=True).mean((2, 3), keepdim=True)
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        levels = self.trunk((images - self.shift) / self.scale)
        return [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in levels]


def load_lpips(network: str | None = None, lins: str | None = None, kind: Literal["vgg", "alex"] = "vgg") -> LPIPS:
    """LPIPS v0.1 from torchvision's file of the network and the published linear weights.

    Args:
        network, lins: URIs of the two files; ``None`` is where they are published (:data:`RELEASED`).
        kind: which network.

    Raises:
        InputError: a file that cannot be found, is refused, or does not fit.
    """
    trunk = VGG16Features() if kind == "vgg" else AlexNetFeatures()
    path = store.fetch(network or RELEASED[kind][0])
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
    path = store.fetch(lins or RELEASED[kind][1])
    weights = read_tensors(path)
    found = [weights.get(f"lin{number}.model.1.weight") for number in range(len(trunk.channels))]
    for number, (weight, channels) in enumerate(zip(found, trunk.channels, strict=True)):
        if weight is None or weight.shape != (1, channels, 1, 1):
            shape = "missing" if weight is None else tuple(weight.shape)
            raise InputError(f"{path}: 'lin{number}.model.1.weight' is {shape}, expected {(1, channels, 1, 1)}")
    return LPIPS(trunk, [weight for weight in found if weight is not None])
