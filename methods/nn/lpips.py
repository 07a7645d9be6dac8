"""LPIPS, the learned perceptual distance (Zhang et al., arXiv 1801.03924), version 0.1 on VGG-16."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
# torchvision's vgg16().features: channels, M for max pooling; the five distances are taken before each pooling
_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)


class Trunk(Protocol):
    """A frozen network that returns the feature maps that are compared."""

    def __call__(self, images: Tensor) -> list[Tensor]: ...


class VGG16Features(nn.Module):
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of VGG-16; parameter names are torchvision's."""

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
        found, h = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(h)
            h = layer(h)
        return [*found, h]


class LPIPS(nn.Module):
    """Frozen. ``lins`` weigh the channels of each level.

    Args:
        trunk: the feature network.
        lins: one (1, C, 1, 1) non-negative weight a level.
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
            apart = (f - w).square() * self.get_buffer(f"lin{number}")
            total = total + apart.sum(1, keepdim=True).mean((2, 3), keepdim=True)
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        levels = self.trunk((images - self.shift) / self.scale)
        return [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in levels]


def load_lpips(vgg: str, lins: str) -> LPIPS:
    """LPIPS v0.1 from torchvision's VGG-16 file and the published linear weights.

    Raises:
        InputError: a file that cannot be found, is refused, or does not fit.
    """
    trunk = VGG16Features()
    path = store.fetch(vgg)
    state = {name: value for name, value in _tensors(path).items() if name.startswith("features.")}
    # torchvision's file goes on to a last pooling, which has no weights, and a classifier
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not VGG-16 as torchvision saves it ({str(error).splitlines()[-1].strip()})"
        ) from None
    path = store.fetch(lins)
    weights = _tensors(path)
    found = [weights.get(f"lin{number}.model.1.weight") for number in range(len(trunk.channels))]
    for number, (weight, channels) in enumerate(zip(found, trunk.channels, strict=True)):
        if weight is None or weight.shape != (1, channels, 1, 1):
            shape = "missing" if weight is None else tuple(weight.shape)
            raise InputError(f"{path}: 'lin{number}.model.1.weight' is {shape}, expected {(1, channels, 1, 1)}")
    return LPIPS(trunk, [weight for weight in found if weight is not None])


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"{path}: not a file of tensors ({first})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: found a {type(state).__name__}, expected a dictionary of tensors")
    return state
