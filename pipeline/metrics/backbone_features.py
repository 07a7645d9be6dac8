"""Features of any network of timm, torchvision or open_clip, prepared as its library says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError
from methods.nn.tensor_file import read_tensors
from methods.plugins import nearest
from pipeline.metrics.encoded import EncodedPictures

_Built = tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor], Callable[[Image.Image], Any]]
"""The network, how it is asked for features, and how a picture is prepared for it."""


@cache
def shared(device: str, library: str, model: str, weights: str) -> EncodedPictures[np.ndarray]:
    """The one extractor of this process: (D,) float16 of each picture, before the classifier.

    Raises:
        InputError: a network that the library does not have, or weights of another one.
    """
    where = torch.device(device)
    network, ask, prepare = _LIBRARIES[library](model)
    _fill(network, store.fetch(weights), f"{library}'s {model}")
    network = network.float().to(where).eval().requires_grad_(False)

    @torch.inference_mode()
    def encode(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        step = 1 if where.type == "cpu" else 32
        for start in range(0, len(pictures), step):
            group = [prepare(Image.fromarray(each)) for each in pictures[start : start + step]]
            found += list(ask(network, torch.stack(group).to(where)).flatten(1).half().cpu().numpy())
        return found

    return EncodedPictures(encode)


def _timm(model: str) -> _Built:
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    if not timm.is_model(model.partition(".")[0]):
        raise InputError(f"model '{model}': timm has no such network: {nearest(model, timm.list_models())}")
    network = timm.create_model(model, pretrained=False, num_classes=0)
    options = resolve_model_data_config(network)
    prepare: Any = create_transform(**options, is_training=False)
    return network, lambda net, batch: net(batch), prepare


def _torchvision(model: str) -> _Built:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        raise InputError(f"model '{model}': torchvision has no such network: {nearest(model, known)}")
    network = torchvision.models.get_model(model, weights=None)
    linear = [name for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    if not linear:
        raise InputError(f"model '{model}': has no linear classifier to take features before; choose another network")
    kept: list[Tensor] = []
    network.get_submodule(linear[-1]).register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))

    def ask(net: nn.Module, batch: Tensor) -> Tensor:
        kept.clear()
        net(batch)
        return kept.pop()

    prepare = torchvision.models.get_model_weights(model)["DEFAULT"].transforms()
    return network, ask, prepare


def _open_clip(model: str) -> _Built:
    import open_clip

    if model not in open_clip.list_models():
        raise InputError(f"model '{model}': open_clip has no such one: {nearest(model, open_clip.list_models())}")
    made: Any = open_clip.create_model_and_transforms(model, pretrained=None)
    network, _, prepare = made
    return network, lambda net, batch: cast("Any", net).encode_image(batch, normalize=True), prepare


_LIBRARIES: dict[str, Callable[[str], _Built]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "open_clip": _open_clip,
}


def _fill(network: nn.Module, path: Path, title: str) -> None:
    state = read_tensors(path)
    own = network.state_dict()
    for name, value in own.items():
        if name not in state or state[name].shape != value.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise InputError(f"{path}: not {title} ('{name}' is {found}, expected {tuple(value.shape)})")
    # a classifier that is left out stands in the file all the same
    network.load_state_dict({name: state[name] for name in own})
