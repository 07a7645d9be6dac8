"""Features of the Inception network that FID and KID are defined by."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from methods import weights as store
from methods.errors import InputError, first_line
from methods.nn.tensor_file import read_tensors
from pipeline.metrics.encoded import EncodedPictures

_SIDE = 299
_LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


@cache
def shared(device: str, weights: str, resize: str) -> EncodedPictures[np.ndarray]:
    """The one extractor of this process: (2048,) float16 of each picture.

    Raises:
        InputError: weights that cannot be found, or of another network.
    """
    where = torch.device(device)
    network = _load(store.fetch(weights)).to(where)

    @torch.inference_mode()
    def encode(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        step = 1 if where.type == "cpu" else 32
        for start in range(0, len(pictures), step):
            group = pictures[start : start + step]
            resized = [clean(each) if resize == "clean" else _as_tensorflow(each) for each in group]
            h = (torch.cat(resized).to(where) - 128) / 128
            for name in _LAYERS:
                h = network.get_submodule(name)(h)
            found += list(h.flatten(1).half().cpu().numpy())
        return found

    return EncodedPictures(encode)


def clean(picture: np.ndarray) -> Tensor:
    """(1, 3, 299, 299) of 0 to 255 as clean-fid resizes: Pillow's bicubic in float, nothing rounded."""
    planes = [
        np.asarray(
            Image.fromarray(picture[:, :, channel].astype(np.float32)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        )
        for channel in range(3)
    ]
    return torch.from_numpy(np.stack(planes).clip(0, 255))[None]


def _as_tensorflow(picture: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    return interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(_SIDE, _SIDE), align_corners=False)


def _load(path: Path) -> nn.Module:
    state = read_tensors(path)
    with torch.device("meta"):
        network = Unfilled()
    for name in network.state_dict():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros((), dtype=torch.int64))
    try:
        nn.Module.load_state_dict(network, state, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not the Inception network of FID as torch-fidelity saves it ({first_line(error)})"
        ) from None
    return network.float().eval().requires_grad_(False)


class Unfilled(FeatureExtractorInceptionV3):
    """torch-fidelity's network before its weights are read.

    Its constructor reads a file by itself, and runs what code a pickle holds: it is given an empty one.
    """

    def __init__(self) -> None:
        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        super().__init__("inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return None
